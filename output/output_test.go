package output

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, path, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || string(data) != text {
		t.Errorf("%s: have %.60q, %v; want %q", filepath.Base(path), data, err, text)
	}
}

// only fails where a folder has other files than these.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range list {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(names, " ") {
		t.Errorf("have %v, want %v", have, names)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	for _, text := range []string{"{}", "[1]"} {
		if err := WriteFile(path, []byte(text), Options{Kind: JSON, Sync: true}); err != nil {
			t.Fatal(err)
		}
		holds(t, path, text)
	}
	only(t, dir, "a.json")
	// What fails half way leaves what was there.
	err := Write(path, Options{}, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return errors.New("no more")
	})
	if err == nil || !strings.Contains(err.Error(), "a.json: no more") {
		t.Errorf("have %v", err)
	}
	holds(t, path, "[1]")
	f, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "a.json")
}

func TestOtherKinds(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	put(t, text, "dear diary")
	for _, k := range []Kind{PNG, JSON, Safetensors} {
		err := WriteFile(text, []byte("x"), Options{Kind: k})
		var exists *ExistsError
		if !errors.As(err, &exists) || !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(),
			"notes.txt exists and is no "+k.Name) {
			t.Errorf("%s: have %v", k.Name, err)
		}
		holds(t, text, "dear diary")
	}
	for name, head := range map[string]string{"PNG": "\x89PNG\r\n\x1a\nxx", "JSON": "\n [",
		"safetensors": "\x10\x00\x00\x00\x00\x00\x00\x00{", "nothing": ""} {
		for _, k := range []Kind{PNG, JSON, Safetensors} {
			put(t, text, head)
			err := WriteFile(text, []byte("x"), Options{Kind: k})
			if (err == nil) != (name == k.Name || name == "nothing") {
				t.Errorf("%s over %s: have %v", k.Name, name, err)
			}
		}
	}
	put(t, text, "dear diary")
	if err := WriteFile(text, []byte("forced"), Options{Kind: PNG, Force: true}); err != nil {
		t.Fatal(err)
	}
	holds(t, text, "forced")
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{sub: "a folder", filepath.Join(dir, "none", "x"): "no such file", filepath.Join(text,
		"x"): "not a directory", "": "file does not exist"} {
		if err := WriteFile(path, nil, Options{Force: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, want %s", path, err, want)
		}
	}
	only(t, dir, "notes.txt", "sub")
}

func TestLinks(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	link := func(from, to string) string {
		path := filepath.Join(dir, from)
		if err := os.Symlink(to, path); err != nil {
			t.Skip(err)
		}
		return path
	}
	target := filepath.Join(other, "target")
	put(t, target, "old")
	for _, path := range []string{link("abs", target), link("twice", "abs")} {
		if err := WriteFile(path, []byte(filepath.Base(path)), Options{}); err != nil {
			t.Fatal(err)
		}
		holds(t, target, filepath.Base(path))
	}
	dangling := link("dangling", filepath.Join(other, "made"))
	if err := WriteFile(dangling, []byte("new"), Options{}); err != nil {
		t.Fatal(err)
	}
	holds(t, filepath.Join(other, "made"), "new")
	link("folder", other)
	if err := WriteFile(filepath.Join(dir, "folder", "made"), []byte("newer"), Options{}); err != nil {
		t.Fatal(err)
	}
	holds(t, filepath.Join(other, "made"), "newer")
	link("loop", "loop")
	if err := WriteFile(filepath.Join(dir, "loop"), nil, Options{}); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("have %v", err)
	}
	only(t, dir, "abs", "dangling", "folder", "loop", "twice")
	only(t, other, "made", "target")
	for _, name := range []string{"abs", "dangling", "twice"} {
		if st, err := os.Lstat(filepath.Join(dir, name)); err != nil || st.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s is no link any more", name)
		}
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	final := filepath.Join(dir, "model")
	d, err := NewFolder(final)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(d.Path, "x"), "1")
	if err := errors.Join(Sweep(dir), d.Commit(), d.Close()); err != nil {
		t.Fatal(err)
	}
	holds(t, filepath.Join(final, "x"), "1")
	if _, err := NewFolder(final + "/"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("have %v", err)
	}
	// A folder that comes meanwhile is not replaced, an empty one neither.
	late := filepath.Join(dir, "late")
	if d, err = NewFolder(late); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(late, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(d.Path, "x"), "1")
	if err := d.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("have %v", err)
	}
	only(t, late)
	if d, err = NewFolder(filepath.Join(dir, "never")); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "late", "model")
}

// TestSweep: what killed runs have left goes, what a living one writes and what
// only looks like it stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	name := prefix + strings.Repeat("0a", digits/2) + suffix
	put(t, filepath.Join(dir, name), "left")
	folder := filepath.Join(dir, prefix+strings.Repeat("0b", digits/2)+suffix)
	if err := os.MkdirAll(filepath.Join(folder, "vae"), 0o700); err != nil {
		t.Fatal(err)
	}
	others := []string{".parley-.part", ".parley-" + strings.Repeat("zz", digits/2) + suffix, name + "x", "x" + name}
	for _, o := range others {
		put(t, filepath.Join(dir, o), "mine")
	}
	link := prefix + strings.Repeat("00", digits/2) + suffix // nobody leaves links
	if err := os.Symlink(others[0], filepath.Join(dir, link)); err != nil {
		t.Fatal(err)
	}
	living, err := Create(filepath.Join(dir, "new"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Sweep(dir), Sweep(filepath.Join(dir, "none"))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(living, "alive"); err != nil {
		t.Fatal(err)
	}
	if err := living.Commit(); err != nil {
		t.Fatal(err)
	}
	holds(t, filepath.Join(dir, "new"), "alive")
	only(t, dir, others[0], link, name+"x", others[1], "new", "x"+name)
}

// TestNew: what is there stays where a new file alone is meant, and Check leaves
// nothing; a file that is seen while it grows follows the same rules.
func TestNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Check(path, Options{New: true}); err != nil {
		t.Fatal(err)
	}
	only(t, dir)
	put(t, path, "mine")
	for _, err := range []error{Check(path, Options{New: true}), WriteFile(path, nil, Options{New: true})} {
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("have %v", err)
		}
	}
	if _, err := CreateInPlace(path, Options{Kind: PNG}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("have %v", err)
	}
	holds(t, path, "mine")
	f, err := CreateInPlace(path, Options{Kind: PNG, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "seen"); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "seen")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// What comes while a file is written stays, where a new file alone is meant; and a
	// folder stays in any case.
	for _, c := range []struct {
		o    Options
		want string
	}{{Options{New: true}, "theirs"}, {Options{}, "ours"}} {
		late := filepath.Join(dir, "late")
		f, err := Create(late, c.o)
		if err != nil {
			t.Fatal(err)
		}
		put(t, late, "theirs")
		_, err = io.WriteString(f, "ours")
		if err = errors.Join(err, f.Commit()); errors.Is(err, fs.ErrExist) != c.o.New || !c.o.New && err != nil {
			t.Errorf("%+v: %v", c.o, err)
		}
		holds(t, late, c.want)
		if err := os.Remove(late); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	l, err := Create(link, Options{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", link); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a link that came meanwhile: %v", err)
	}
	if _, err := os.Readlink(link); err != nil {
		t.Error(err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("over"), Options{New: true, Force: true}); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "over")
	only(t, dir, "a")
}
