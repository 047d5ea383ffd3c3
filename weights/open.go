package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"parley/weights/packed"
	"parley/weights/pickle"
	"parley/weights/safetensors"
)

// candidates are the files that a model's folder keeps its tensors in, the
// preferred first: safetensors before pickles, full precision before half.
var candidates = []string{
	"model.safetensors",
	"diffusion_pytorch_model.safetensors",
	"open_clip_model.safetensors",
	"open_clip_pytorch_model.safetensors",
	"model.safetensors.index.json",
	"diffusion_pytorch_model.safetensors.index.json",
	"model.fp16.safetensors",
	"diffusion_pytorch_model.fp16.safetensors",
	"model.safetensors.index.fp16.json",
	"diffusion_pytorch_model.safetensors.index.fp16.json",
	"pytorch_model.bin",
	"diffusion_pytorch_model.bin",
	"open_clip_pytorch_model.bin",
	"pytorch_model.bin.index.json",
	"diffusion_pytorch_model.bin.index.json",
	"pytorch_model.fp16.bin",
	"diffusion_pytorch_model.fp16.bin",
	"pytorch_model.bin.index.fp16.json",
	"diffusion_pytorch_model.bin.index.fp16.json",
}

// pickled are the extensions of torch's pickles, the preferred first.
var pickled = []string{".bin", ".pth", ".pt", ".ckpt"}

// Open reads a checkpoint from a file (.safetensors, an index of shards, or a
// pickle of torch) or from a folder that has one. Files are mapped, so that
// opening costs nothing per byte; Close unmaps them. Where a file is not there and
// a packed one is (weights/packed: its name and .zst), that is unpacked to memory.
func Open(name string) (*Set, error) {
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
	o := opener{
		fsys:  os.DirFS(dir),
		dir:   ".",
		shown: func(f string) string { return filepath.Join(dir, filepath.FromSlash(f)) },
		read: func(f string) ([]byte, io.Closer, error) {
			return safetensors.MapBytes(filepath.Join(dir, filepath.FromSlash(f)))
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
		fsys:  fsys,
		dir:   dir,
		shown: func(f string) string { return path.Join(dir, f) },
		read: func(f string) ([]byte, io.Closer, error) {
			data, err := fs.ReadFile(fsys, path.Join(dir, f))
			return data, nil, err
		},
	}
	return o.open(base)
}

// opener opens files of one folder.
type opener struct {
	fsys  fs.FS
	dir   string
	shown func(file string) string
	read  func(file string) ([]byte, io.Closer, error)
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

// choose picks the file that holds a folder's tensors.
func (o opener) choose() (string, error) {
	list, err := fs.ReadDir(o.fsys, o.dir)
	if err != nil {
		return "", fmt.Errorf("open weights: %w", err)
	}
	files := map[string]bool{}
	for _, f := range list {
		if !f.IsDir() {
			files[strings.TrimSuffix(f.Name(), packed.Extension)] = true
		}
	}
	for _, c := range candidates {
		if files[c] {
			return c, nil
		}
	}
	// Single files have free names: take one where it is the only one.
	for _, ext := range append([]string{".safetensors"}, pickled...) {
		var found []string
		for f := range files {
			if path.Ext(f) == ext {
				found = append(found, f)
			}
		}
		sort.Strings(found)
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return "", fmt.Errorf("open weights: %s has several checkpoints, name one: %s", o.shown(""), strings.Join(found, ", "))
		}
	}
	return "", &NoWeightsError{Dir: o.shown(""), Looked: append(append([]string(nil), candidates...), "*.safetensors", "*.bin", "*.pth", "*.pt", "*.ckpt")}
}

// NoWeightsError says that a folder has no checkpoint.
type NoWeightsError struct {
	Dir    string
	Looked []string
}

func (e *NoWeightsError) Error() string {
	return fmt.Sprintf("open weights: no checkpoint in %s: looked for %s", e.Dir, strings.Join(e.Looked, ", "))
}

func (o opener) file(name string) (*Set, error) {
	data, closer, err := o.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		if d, c, e := o.read(name + packed.Extension); e == nil {
			data, closer, err = d, c, nil
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
		if closer != nil {
			err = errors.Join(err, closer.Close())
			closer = nil
		}
		if err != nil {
			return nil, err
		}
	}
	var entries []Entry
	about := Config{}
	if isPickle(name, data) {
		var c pickle.Checkpoint
		c, err = pickle.Read(o.shown(name), data)
		entries = c.Tensors
		if c.Step != 0 {
			about["global_step"] = c.Step
		}
	} else {
		entries, _, err = safetensors.Parse(o.shown(name), data)
	}
	if err != nil {
		if closer != nil {
			err = errors.Join(err, closer.Close())
		}
		return nil, err
	}
	s := NewSet(entries, closer)
	s.About = about
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
	for _, ext := range pickled {
		if path.Ext(name) == ext {
			return true
		}
	}
	return false
}

// shards opens the files that an index names.
func (o opener) shards(name string) (*Set, error) {
	data, err := fs.ReadFile(o.fsys, path.Join(o.dir, name))
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", o.shown(name), err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("%s: no weight_map", o.shown(name))
	}
	byFile := map[string][]string{}
	for tensor, file := range index.WeightMap {
		byFile[file] = append(byFile[file], tensor)
	}
	files := make([]string, 0, len(byFile))
	for file := range byFile {
		files = append(files, file)
	}
	sort.Strings(files)
	var all []Entry
	var closers []io.Closer
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
		closers = append(closers, shard)
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
	return NewSet(all, closers...), nil
}
