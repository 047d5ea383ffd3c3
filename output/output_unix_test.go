//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestPipe: a named pipe is written through, also by a link, and stays.
func TestPipe(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink("pipe", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link} {
		got := make(chan string, 1)
		go func() {
			data, err := os.ReadFile(pipe)
			got <- fmt.Sprint(string(data), err)
		}()
		if err := WriteFile(path, []byte("through"), Options{Kind: PNG}); err != nil {
			t.Fatal(err)
		}
		if have := <-got; have != "through<nil>" {
			t.Errorf("have %s", have)
		}
		if st, err := os.Lstat(pipe); err != nil || st.Mode()&fs.ModeNamedPipe == 0 {
			t.Fatal("the pipe is gone")
		}
	}
	only(t, dir, "link", "pipe")
}

// TestOpenFile: what is open under /dev/fd is written to, not replaced.
func TestOpenFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("another /dev/fd")
	}
	path := filepath.Join(t.TempDir(), "shell-redirection")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, dir := range []string{"/dev/fd", "/proc/self/fd"} {
		if err := WriteFile(fmt.Sprintf("%s/%d", dir, f.Fd()), []byte("here"), Options{Kind: JSON}); err != nil {
			t.Fatal(err)
		}
	}
	own, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(own, now) {
		t.Errorf("the file was replaced: %v", err)
	}
	holds(t, path, "here")
}

// TestDevice: a device of the test's own is written through and stays one.
func TestDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "null")
	if err := syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Skipf("no device can be made here: %v", err)
	}
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err != nil {
		t.Skipf("devices of this folder cannot be opened: %v", err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {Kind: PNG}, {Force: true, Sync: true}} {
		if err := WriteFile(path, []byte("gone"), o); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Lstat(path); err != nil || st.Mode()&fs.ModeCharDevice == 0 {
			t.Fatal("the device was replaced")
		}
	}
}

// TestPermissions: the umask decides on new files, replaced ones keep theirs,
// and one that is not to be written to is left alone.
func TestPermissions(t *testing.T) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	mode := func(path string, want fs.FileMode) {
		t.Helper()
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("have %v, %v; want %v", st.Mode().Perm(), err, want)
		}
	}
	if err := WriteFile(path, nil, Options{}); err != nil {
		t.Fatal(err)
	}
	mode(path, 0o640)
	d, err := NewFolder(filepath.Join(dir, "d"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	mode(filepath.Join(dir, "d"), 0o750)
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("x"), Options{}); err != nil {
		t.Fatal(err)
	}
	mode(path, 0o604)
	if os.Geteuid() == 0 {
		return // may write to everything
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("y"), Options{}); err == nil {
		t.Error("a file that is only to be read was replaced")
	}
	holds(t, path, "x")
}

// TestRunning: a program that runs cannot be written to, by anybody, so that it is not
// replaced.
func TestRunning(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("another rule")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.Link(self, path); err != nil {
		t.Skipf("a second name of the test's program: %v", err)
	}
	for _, o := range []Options{{}, {Force: true}} {
		if err := WriteFile(path, []byte("x"), o); !errors.Is(err, syscall.ETXTBSY) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if a, err := os.Stat(self); err != nil {
		t.Fatal(err)
	} else if b, err := os.Stat(path); err != nil || !os.SameFile(a, b) {
		t.Errorf("replaced: %v", err)
	}
}

// TestFullLines: what a full disk has taken of a line is removed. The limit on the size
// of files stands for the disk.
func TestFullLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	l, err := OpenLines(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Append([]byte("one")); err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limit := old
	limit.Cur = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Skip(err)
	}
	err = l.Append(make([]byte, 2<<20))
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("have %v", err)
	}
	holds(t, path, "one\n")
	if err := l.Append([]byte("two")); err != nil {
		t.Error(err)
	}
	holds(t, path, "one\ntwo\n")
}

// TestKilled: a process that ends in the middle leaves a file that the next one
// sweeps away.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "a"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "half"); err != nil {
		t.Fatal(err)
	}
	// The lock goes with the process.
	if err := f.lock.Close(); err != nil {
		t.Fatal(err)
	}
	f.lock = nil
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	only(t, dir)
	_ = f.f.Close()
}
