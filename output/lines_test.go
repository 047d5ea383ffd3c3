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
