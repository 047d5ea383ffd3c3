package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"parley/weights/packed"
	"parley/weights/pickle"
	"parley/weights/safetensors"
)

// stems are what the files of a model's folder are called, the preferred first;
// after them come a variant, such as fp16, and the format.
var stems = []string{"model", "diffusion_pytorch_model", "pytorch_model", "open_clip_model", "open_clip_pytorch_model"}

// formats are the extensions of checkpoints, the preferred first: safetensors
// before pickles, which torch writes under several.
var formats = []string{"safetensors", "bin", "pth", "pt", "ckpt"}

// variants are taken in this order where a folder has no file without one.
var variants = []string{"fp32", "fp16", "bf16"}

// Open reads a checkpoint from a file (.safetensors, an index of shards, or a
// pickle of torch) or from a folder that has one: a model's, or the root of a
// hub's cache. Files are mapped, so that opening costs nothing per byte; Close
// unmaps them. Where a file is not there and a packed one is (weights/packed: its
// name and .zst), that is unpacked to memory.
func Open(name string) (*Set, error) { return OpenVariant(name, "") }

// OpenVariant is Open for a folder's files of a variant, such as "fp16" of
// model.fp16.safetensors; "" prefers the files without one.
func OpenVariant(name, variant string) (*Set, error) {
	name, err := Snapshot(name)
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if p, e := os.Stat(name + packed.Extension); e == nil {
			st, err = p, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	dir, base := name, ""
	if !st.IsDir() {
		dir, base = filepath.Split(name)
		if dir == "" {
			dir = "."
		}
	}
	disk := func(f string) string { return filepath.Join(dir, filepath.FromSlash(f)) }
	o := opener{
		fsys: os.DirFS(dir), dir: ".", variant: variant, shown: disk,
		read: func(f string) ([]byte, file, error) {
			m, err := safetensors.MapBytes(disk(f))
			if err != nil {
				return nil, nil, err
			}
			return m.Data, m, nil
		},
	}
	return o.open(base)
}

// OpenFS reads a checkpoint from a folder of a file system, such as the
// embedded models, or from a file in it, packed or not. Nothing is mapped.
func OpenFS(fsys fs.FS, name string) (*Set, error) {
	st, err := fs.Stat(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		if p, e := fs.Stat(fsys, name+packed.Extension); e == nil {
			st, err = p, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	dir, base := name, ""
	if !st.IsDir() {
		dir, base = path.Dir(name), path.Base(name)
	}
	o := opener{
		fsys: fsys, dir: dir,
		shown: func(f string) string { return path.Join(dir, f) },
		read: func(f string) ([]byte, file, error) {
			data, err := fs.ReadFile(fsys, path.Join(dir, f))
			return data, nil, err
		},
	}
	return o.open(base)
}

// Snapshot is the folder of the newest revision where a path is the root of a
// model in a hub's cache (models--OWNER--NAME, with blobs/, refs/ and
// snapshots/), and the path itself everywhere else.
func Snapshot(root string) (string, error) {
	list, err := os.ReadDir(filepath.Join(root, "snapshots"))
	if err != nil {
		return root, nil // no cache
	}
	if _, err := os.Stat(filepath.Join(root, "refs")); err != nil {
		return root, nil
	}
	has := func(name string) bool {
		return slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.IsDir() && e.Name() == name })
	}
	if ref, err := os.ReadFile(filepath.Join(root, "refs", "main")); err == nil {
		if name := strings.TrimSpace(string(ref)); has(name) {
			return filepath.Join(root, "snapshots", name), nil
		}
	}
	newest, when := "", int64(0)
	for _, e := range list {
		st, err := e.Info()
		if err == nil && e.IsDir() && (newest == "" || st.ModTime().UnixNano() > when) {
			newest, when = e.Name(), st.ModTime().UnixNano()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("%s: a hub's cache without a revision in snapshots/", root)
	}
	return filepath.Join(root, "snapshots", newest), nil
}

// opener opens files of one folder.
type opener struct {
	fsys    fs.FS
	dir     string
	variant string
	shown   func(file string) string
	read    func(file string) ([]byte, file, error)
}

func (o opener) open(base string) (*Set, error) {
	var err error
	if base == "" {
		if base, err = o.choose(); err != nil {
			return nil, err
		}
	}
	var s *Set
	if strings.HasSuffix(base, ".json") {
		s, err = o.shards(base)
	} else {
		s, err = o.file(base)
	}
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	s.origin, s.fsys, s.dir = o.shown(base), o.fsys, o.dir
	return s, nil
}

// named is a file that a model's folder keeps tensors in, by its name.
type named struct {
	file, variant string
	stem, format  int  // places in stems and formats
	index         bool // of shards
}

// parseName takes STEM[.VARIANT].FORMAT, and of indexes
// STEM.FORMAT.index[.VARIANT].json and STEM.FORMAT.VARIANT.index.json.
func parseName(file string) (named, bool) {
	n := named{file: file, format: -1}
	parts := strings.Split(file, ".")
	if n.stem = slices.Index(stems, parts[0]); n.stem < 0 {
		return n, false
	}
	var rest []string
	for _, p := range parts[1:] {
		if f := slices.Index(formats, p); f >= 0 && n.format < 0 {
			n.format = f
		} else if p == "index" {
			n.index = true
		} else if p != "json" {
			rest = append(rest, p)
		}
	}
	last := parts[len(parts)-1]
	if n.format < 0 || n.index != (last == "json") || !n.index && last != formats[n.format] {
		return n, false
	}
	n.variant = strings.Join(rest, ".")
	return n, true
}

// choose picks the file that holds a folder's tensors.
func (o opener) choose() (string, error) {
	list, err := fs.ReadDir(o.fsys, o.dir)
	if err != nil {
		return "", fmt.Errorf("open weights: %w", err)
	}
	var names []string
	for _, f := range list {
		if !f.IsDir() {
			names = append(names, strings.TrimSuffix(f.Name(), packed.Extension))
		}
	}
	return chooser{o.shown(""), o.variant}.choose(names)
}

// Files are those of a folder's files that hold its tensors and that Open would read:
// one file, or an index and its shards. dir is what errors call the folder.
func Files(dir string, names []string, variant string) ([]string, error) {
	base, err := chooser{dir, variant}.choose(names)
	if err != nil {
		return nil, err
	}
	files := []string{base}
	index, ok := parseName(base)
	if !ok || !index.index {
		return files, nil
	}
	for _, name := range names {
		n, ok := parseName(shardNumber.ReplaceAllString(name, ""))
		if ok && n.file != name && n.stem == index.stem && n.format == index.format && n.variant == index.variant && !n.index {
			files = append(files, name)
		}
	}
	if len(files) == 1 {
		return nil, fmt.Errorf("open weights: %s has %s and none of its shards", dir, base)
	}
	return files, nil
}

// shardNumber is what tells the files of one index apart.
var shardNumber = regexp.MustCompile(`-\d+-of-\d+`)

// chooser picks a checkpoint from a folder's names.
type chooser struct{ dir, variant string }

func (o chooser) choose(names []string) (string, error) {
	var found []named
	var free [][]string // by format: single files have free names
	var others []string // what is not read
	for range formats {
		free = append(free, nil)
	}
	for _, name := range names {
		ext := strings.TrimPrefix(path.Ext(name), ".")
		if n, ok := parseName(name); ok {
			found = append(found, n)
		} else if i := slices.Index(formats, ext); i >= 0 {
			free[i] = append(free[i], name)
		} else if slices.Contains([]string{"gguf", "h5", "msgpack", "onnx", "npz"}, ext) {
			others = append(others, name)
		}
	}
	if len(found) > 0 {
		return o.among(found)
	}
	for _, names := range free {
		if o.variant != "" {
			names = slices.DeleteFunc(names, func(n string) bool { return !strings.Contains(n, "."+o.variant+".") })
		}
		if len(names) == 1 {
			return names[0], nil
		}
		if len(names) > 1 {
			return "", fmt.Errorf("open weights: %s has several checkpoints, name one: %s", o.dir, strings.Join(names, ", "))
		}
	}
	return "", &NoWeightsError{Dir: o.dir, Variant: o.variant, Others: others}
}

// among picks one of files that are named as a model's: of the variant that is
// asked for or the most precise one, safetensors first, whole before shards.
func (o chooser) among(found []named) (string, error) {
	var have []string
	for _, n := range found {
		if !slices.Contains(have, n.variant) {
			have = append(have, n.variant)
		}
	}
	sort.Strings(have)
	want := o.variant
	if want == "" && have[0] != "" {
		for _, v := range slices.Backward(variants) {
			if slices.Contains(have, v) {
				want = v
			}
		}
		if want == "" && len(have) > 1 {
			return "", fmt.Errorf("open weights: %s has the variants %s: choose one", o.dir, strings.Join(have, ", "))
		}
		if want == "" {
			want = have[0]
		}
	}
	var best *named
	for i, n := range found {
		if n.variant == want && (best == nil || n.before(*best)) {
			best = &found[i]
		}
	}
	if best == nil {
		for i, v := range have {
			if v == "" {
				have[i] = "none"
			}
		}
		return "", fmt.Errorf("open weights: %s has no variant %s; it has %s", o.dir, want, strings.Join(have, ", "))
	}
	return best.file, nil
}

func (n named) before(m named) bool {
	if (n.format == 0) != (m.format == 0) {
		return n.format == 0
	}
	if n.index != m.index {
		return m.index
	}
	if n.stem != m.stem {
		return n.stem < m.stem
	}
	return n.format < m.format || n.format == m.format && n.file < m.file
}

// NoWeightsError says that a folder has no checkpoint.
type NoWeightsError struct {
	Dir     string
	Variant string   // that was asked for
	Others  []string // files of formats that are not read
}

func (e *NoWeightsError) Error() string {
	s := "open weights: no checkpoint in " + e.Dir + ": looked for model.safetensors, " +
		"pytorch_model.bin and whatever ends in .safetensors, .bin, .pth, .pt or .ckpt"
	if e.Variant != "" {
		s += ", of the variant " + e.Variant
	}
	if len(e.Others) > 0 {
		s += "; " + strings.Join(e.Others, ", ") + " is of a format that is not read"
	}
	return s
}

func (o opener) file(name string) (*Set, error) {
	data, f, err := o.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		if d, c, e := o.read(name + packed.Extension); e == nil {
			data, f, err = d, c, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if packed.Is(data) {
		file := data
		if data, err = packed.Unpack(file); err != nil {
			err = fmt.Errorf("unpack %s: %w", o.shown(name), err)
		}
		if c, ok := f.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		f = nil
		if err != nil {
			return nil, err
		}
	}
	var entries []Entry
	var metadata map[string]string
	about := Config{}
	shown := o.shown(name)
	err = safetensors.Reading(shown, func() error {
		what := foreign(data)
		switch {
		case what != "":
			return &ForeignError{shown, what}
		case isPickle(name, data):
			c, err := pickle.Read(shown, data)
			entries = c.Tensors
			if c.Step != 0 {
				about["global_step"] = c.Step
			}
			return err
		}
		entries, metadata, err = safetensors.Parse(shown, data)
		return err
	})
	closer, _ := f.(io.Closer)
	if err != nil {
		if closer != nil {
			err = errors.Join(err, closer.Close())
		}
		return nil, err
	}
	s := NewSet(entries, closer)
	s.About, s.Metadata = about, metadata
	if f != nil {
		s.files = []file{f}
	}
	return s, nil
}

// isPickle goes by the first bytes: people rename files.
func isPickle(name string, data []byte) bool {
	switch {
	case len(data) >= 9 && data[8] == '{':
		return false
	case len(data) >= 2 && (string(data[:2]) == "PK" || data[0] == 0x80):
		return true
	}
	return slices.Contains(formats[1:], strings.TrimPrefix(path.Ext(name), "."))
}

// shards opens the files that an index names.
func (o opener) shards(name string) (*Set, error) {
	data, err := fs.ReadFile(o.fsys, path.Join(o.dir, name))
	if err != nil {
		return nil, err
	}
	index, err := ParseConfig(o.shown(name), data)
	if err != nil {
		return nil, err
	}
	weightMap, err := index.Sub("weight_map")
	if err != nil {
		return nil, err
	}
	delete(weightMap, fileKey)
	if len(weightMap) == 0 {
		return nil, fmt.Errorf("%s: no weight_map", o.shown(name))
	}
	byFile := map[string][]string{}
	for tensor, v := range weightMap {
		file, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("%s: weight_map: %s: have %s, want the name of a file", o.shown(name), tensor, brief(v))
		}
		file = strings.TrimPrefix(file, "./")
		byFile[file] = append(byFile[file], tensor)
	}
	files := make([]string, 0, len(byFile))
	for file := range byFile {
		files = append(files, file)
	}
	sort.Strings(files)
	var all []Entry
	var closers []io.Closer
	var mapped []file
	var metadata map[string]string
	fail := func(err error) (*Set, error) {
		return nil, errors.Join(err, (&Set{closers: closers}).Close())
	}
	for _, file := range files {
		if !fs.ValidPath(file) || strings.Contains(file, `\`) || strings.HasSuffix(file, ".json") {
			return fail(fmt.Errorf("%s: %q is not a shard of this folder", o.shown(name), file))
		}
		shard, err := o.file(file)
		if err != nil {
			return fail(fmt.Errorf("shard of %s: %w", o.shown(name), err))
		}
		closers, mapped = append(closers, shard), append(mapped, shard.files...)
		metadata = shard.Metadata
		tensors := byFile[file]
		sort.Strings(tensors)
		for _, tensor := range tensors {
			e, ok := shard.Entry(tensor)
			if !ok {
				return fail(fmt.Errorf("%s: %s is not in %s", o.shown(name), tensor, o.shown(file)))
			}
			all = append(all, e)
		}
	}
	s := NewSet(all, closers...)
	s.files, s.Metadata = mapped, metadata
	return s, nil
}
