//go:build unix

package pixels

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOpen: what is no picture is refused by its kind, its head or its size, and
// nothing waits.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	sparse := func(name, head string, size int64) {
		if err := os.WriteFile(at(name), []byte(head), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(at(name), size); err != nil {
			t.Fatal(err)
		}
	}
	sparse("film.mp4", "\x00\x00\x00\x20ftypisom0000", 1<<40)
	sparse("huge.png", "\x89PNG\r\n\x1a\n", 1<<40)
	sparse("zeros", "", 1<<40)
	sparse("empty.png", "", 0)
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:             "is a folder",
		at("none.png"):  "no such file",
		at("film.mp4"):  "a film or another ISO media file, which is not read",
		at("huge.png"):  "PNG: the file has 1099511627776 bytes, at most",
		at("zeros"):     "not a picture",
		at("empty.png"): "no bytes",
		at("pipe"):      "no bytes", // nobody writes to it
		"/dev/zero":     "is a device",
		"/dev/null":     "is a device",
	} {
		start := time.Now()
		_, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with %q", path, err, want)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: %v", path, took)
		}
	}
	// A pipe that somebody writes to, slowly.
	whole := data(t, "files/restart.jpg")
	read := make(chan error)
	w, err := os.OpenFile(at("pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := Read(at("pipe"))
		read <- err
	}()
	for _, part := range [][]byte{whole[:5], whole[5:400], whole[400:]} {
		time.Sleep(20 * time.Millisecond)
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := <-read; err != nil {
		t.Error(err)
	}
}
