package output

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct{ before, want string }{
		{"", "new\n"},
		{"one\n", "one\nnew\n"},
		{"one\ntw", "one\nnew\n"},
		{"tw", "new\n"},
		{"one\n" + long, "one\nnew\n"},
		{long + "\n" + long, long + "\nnew\n"},
	} {
		if err := os.WriteFile(path, []byte(c.before), 0o666); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLines(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLines(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
			t.Errorf("opened twice: %v", err)
		}
		if err := errors.Join(l.Append([]byte("new")), l.Sync(), l.Close()); err != nil {
			t.Fatal(err)
		}
		if have, _ := os.ReadFile(path); string(have) != c.want {
			t.Errorf("behind %.20q: have %.40q, want %.40q", c.before, have, c.want)
		}
		var have []byte
		if err := ReadLines(path, func(line []byte) error { have = append(append(have, line...), '\n'); return nil }); err != nil ||
			string(have) != c.want {
			t.Errorf("read %.40q, %v", have, err)
		}
	}
	l, err := OpenLines(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Append([]byte("a\nb")); err == nil {
		t.Error("two lines at once")
	}
	// A line that is being written is none yet.
	if err := os.WriteFile(path, []byte("a\n\nb\nhal"), 0o666); err != nil {
		t.Fatal(err)
	}
	var have [][]byte
	if err := ReadLines(path, func(line []byte) error { have = append(have, bytes.Clone(line)); return nil }); err != nil ||
		string(bytes.Join(have, []byte("|"))) != "a||b" {
		t.Errorf("%q, %v", have, err)
	}
	stop := errors.New("enough")
	if err := ReadLines(path, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if _, err := OpenLines(t.TempDir()); err == nil {
		t.Error("a folder of lines")
	}
}

// TestFilter: lines go, the file stays locked and grows on, and what fails leaves all
// lines.
func TestFilter(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "lines"), filepath.Join(dir, "link")
	long := strings.Repeat("x", 100_000)
	before := "a\nb1\n" + long + "\n\nb2\n"
	if err := errors.Join(os.WriteFile(path, []byte(before), 0o640), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLines(link)
	if err != nil {
		t.Fatal(err)
	}
	have := func() string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	stop := errors.New("enough")
	if err := l.Filter(func(line []byte) (bool, error) {
		if string(line) == "b2" {
			return false, stop
		}
		return true, nil
	}); !errors.Is(err, stop) || !strings.Contains(err.Error(), link) || have() != before {
		t.Errorf("a filter that fails: %v, %.20q", err, have())
	}
	if err := l.Filter(func(line []byte) (bool, error) { return !bytes.HasPrefix(line, []byte("b")), nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLines(path); !errors.Is(err, ErrLocked) {
		t.Errorf("opened behind a filter: %v", err)
	}
	if err := errors.Join(l.Append([]byte("c")), l.Close()); err != nil || have() != "a\n"+long+"\n\nc\n" {
		t.Errorf("%v, %.20q", err, have())
	}
	st, err := os.Stat(path)
	list, err2 := os.ReadDir(dir)
	if err != nil || err2 != nil || st.Mode().Perm() != 0o640 || len(list) != 2 {
		t.Errorf("%v, %v, %v, %v", st, list, err, err2)
	}
	// Who opened the file before it was replaced, and asks for its lock after.
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	was, err := old.Stat()
	if err == nil {
		err = errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o666))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Lines{f: old, path: path}).hold(was); !errors.Is(err, ErrLocked) {
		t.Errorf("the lock of a file that was replaced: %v", err)
	}
}
