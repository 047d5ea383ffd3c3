package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hidden are the incomplete files and folders in a folder.
func hidden(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, ".parley-*.part"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestStoppedWhileWriting: a converted folder is whole or not there, whatever stops the
// program. Signals leave nothing, and what a kill has left goes with the next run.
func TestStoppedWhileWriting(t *testing.T) {
	const src = "../../weights/mini/models/sd"
	// What this process ignores (under nohup, or behind a shell's &), the program would
	// too; what it catches is the program's own.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP, syscall.SIGINT)
	defer signal.Stop(caught)
	for _, c := range []struct {
		signal syscall.Signal
		clean  bool
	}{{syscall.SIGHUP, true}, {syscall.SIGTERM, true}, {syscall.SIGINT, true}, {syscall.SIGKILL, false}} {
		dir := t.TempDir()
		stopped := 0
		for try := 0; stopped == 0 && try < 100; try++ {
			dst := filepath.Join(dir, "sd")
			p := parley(t, "convert", src, dst)
			var errs bytes.Buffer
			p.Stderr = &errs
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			var err error
			running := true
			// It works in short turns, so that this test sees it write on a busy machine too.
			for running && len(hidden(t, dir)) == 0 {
				_ = p.Process.Signal(syscall.SIGCONT)
				select {
				case err = <-ended:
					running = false
				case <-time.After(500 * time.Microsecond):
					_ = p.Process.Signal(syscall.SIGSTOP)
				}
			}
			if running {
				_ = p.Process.Signal(c.signal) // which may have ended by now
				_ = p.Process.Signal(syscall.SIGCONT)
				err = <-ended
			}
			left, _ := os.ReadDir(dir)
			whole := 0
			for _, e := range left {
				if e.Name() == "sd" {
					whole++
				}
			}
			switch {
			case err == nil && (whole != 1 || len(left) != 1):
				t.Fatalf("%v: done, and %v is there", c.signal, left)
			case err != nil && c.clean && (len(left) != 0 || p.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "stopped")):
				t.Fatalf("%v: code %d, %s, %v is left", c.signal, p.ProcessState.ExitCode(), errs.String(), left)
			case err != nil:
				stopped++
			}
			if err := os.RemoveAll(dst); err != nil {
				t.Fatal(err)
			}
		}
		if stopped == 0 {
			t.Errorf("%v: never came while it wrote", c.signal)
		}
		if c.clean {
			continue
		}
		if len(hidden(t, dir)) == 0 {
			t.Errorf("%v leaves nothing", c.signal)
		}
		if code, _, errs := call(t, "convert", "../../weights/mini/models/clip", filepath.Join(dir, "clip")); code != 0 {
			t.Error(errs)
		}
		if list := hidden(t, dir); len(list) != 0 {
			t.Errorf("the next run leaves %v", list)
		}
	}
}

// later is a standard input that is made when the program asks for it, which has opened
// its models by then.
type later struct {
	make func()
	io.Reader
}

func (l *later) Read(p []byte) (int, error) {
	if l.make != nil {
		l.make()
		l.make = nil
	}
	return l.Reader.Read(p)
}

// TestCheckpointChanges: a checkpoint that is cut, or written to, while it is mapped is
// an error of one line, and one that is replaced as careful writers do is used as it
// was.
func TestCheckpointChanges(t *testing.T) {
	png := scene(t, 3)
	_, want, _ := call(t, "embed", "--json", png)
	for name, c := range map[string]struct {
		change func(path string, data []byte) error
		told   string
	}{
		"cut":      {func(path string, data []byte) error { return os.Truncate(path, int64(len(data)/2)) }, "model.safetensors"},
		"emptied":  {func(path string, _ []byte) error { return os.Truncate(path, 0) }, "model.safetensors"},
		"written":  {func(path string, data []byte) error { return os.WriteFile(path, make([]byte, len(data)), 0o600) }, "model.safetensors"},
		"replaced": {func(path string, data []byte) error { return replace(path, data[:9]) }, ""},
		"removed":  {func(path string, _ []byte) error { return os.Remove(path) }, ""},
	} {
		dir := filepath.Join(plain(t), "clip")
		path := filepath.Join(dir, "model.safetensors")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		past := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
		in := &later{func() {
			if err := c.change(path, data); err != nil {
				t.Error(err)
			}
		}, strings.NewReader(png + "\n")}
		var out, errs bytes.Buffer
		code := runOn(t.Context(), []string{"embed", "--json", "--clip", dir, "-"}, in, &out, &errs)
		if in.make != nil {
			t.Fatal("the standard input was not read")
		}
		if c.told == "" {
			if code != 0 || out.String() != want {
				t.Errorf("%s: code %d, %.200s%s", name, code, out.String(), errs.String())
			}
			continue
		}
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if code != 1 || len(lines) != 2 || !strings.Contains(lines[0], c.told) || !strings.Contains(lines[1], "1 of 1 pictures failed") {
			t.Errorf("%s: code %d, %s%s", name, code, out.String(), errs.String())
		}
	}
}

// replace puts another file in a file's place.
func replace(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// TestNamesOfBytes: a name that is not UTF-8 comes back in JSON, as its bytes in base64
// beside the text.
func TestNamesOfBytes(t *testing.T) {
	data, err := os.ReadFile(scene(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "d\xfe")
	bad, good := filepath.Join(dir, "a\xff.png"), filepath.Join(dir, "é.png")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skip(err) // a file system of Unicode names
	}
	for _, name := range []string{bad, good} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Skip(err)
		}
	}
	drawn := filepath.Join(dir, "drawn")
	for _, c := range []struct {
		args, of string
		fields   [2]string // of --json and of --jsonl
		want     [2]string
	}{
		{"caption", bad, [2]string{"file_bytes", "file_bytes"}, [2]string{bad, bad}},
		{"embed", bad, [2]string{"file_bytes", "file_bytes"}, [2]string{bad, bad}},
		{"score --text x", bad, [2]string{"files_bytes", "file_bytes"}, [2]string{bad, bad}},
		{"reconstruct image -k 1 --steps 1 --force --out " + filepath.Join(dir, "image"), bad, [2]string{"source_bytes", "source_bytes"},
			[2]string{bad, bad}},
		{"draw --steps 1 --width 16 --height 16 --out " + drawn, "x", [2]string{"image_bytes", "image_bytes"},
			[2]string{filepath.Join(drawn, "00-00.png"), filepath.Join(drawn, "01-00.png")}},
	} {
		for i, form := range []string{"--json", "--jsonl"} {
			args := append(strings.Fields(c.args), form, c.of)
			code, out, errs := call(t, args...)
			have := base64.StdEncoding.EncodeToString([]byte(c.want[i]))
			if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"`+c.fields[i]+`"`) || !strings.Contains(out, have) {
				t.Errorf("%v: code %d, no %s of %s in %.500s%s", args, code, c.fields[i], have, out, errs)
			}
		}
	}
	link := filepath.Join(t.TempDir(), "é.png")
	if err := os.WriteFile(link, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := call(t, "caption", "--json", link); strings.Contains(out, "file_bytes") || !strings.Contains(out, "é.png") {
		t.Errorf("a name that is UTF-8: %s", out)
	}
}

// TestEvalTwice: a second process is refused while the first has the run's folder, and
// changes nothing. The first waits for a picture that is a named pipe: who can write to
// it knows that the folder is taken.
func TestEvalTwice(t *testing.T) {
	dir := t.TempDir()
	pictures, out := filepath.Join(dir, "pictures"), filepath.Join(dir, "run")
	pipe := filepath.Join(pictures, "a.png")
	if err := errors.Join(os.Mkdir(pictures, 0o777), syscall.Mkfifo(pipe, 0o666)); err != nil {
		t.Fatal(err)
	}
	args := []string{"eval", "image", "--data", pictures, "-k", "2", "--steps", "1", "--out", out}
	first := parley(t, args...)
	var told bytes.Buffer
	first.Stdout, first.Stderr = &told, &told
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	var w *os.File
	for deadline := time.Now().Add(time.Minute); w == nil; time.Sleep(time.Millisecond) {
		// Without a reader it is ENXIO.
		f, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			w = f
		} else if !errors.Is(err, syscall.ENXIO) || time.Now().After(deadline) {
			_ = first.Process.Kill()
			<-ended
			t.Fatalf("the first process does not read its picture: %v\n%s", err, told.String())
		}
	}
	for _, more := range [][]string{nil, {"--retry"}} {
		c := parley(t, append(args, more...)...)
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() }) // it may wait for the pipe
		err := c.Wait()
		late.Stop()
		var no *exec.ExitError
		if !errors.As(err, &no) || no.ExitCode() != 1 || !strings.Contains(errs.String(), out) ||
			!strings.Contains(errs.String(), "another process writes to it") {
			t.Errorf("a second process %q: %v, %s", more, err, errs.String())
		}
	}
	if data, err := os.ReadFile(filepath.Join(out, "items.jsonl")); err != nil || len(data) > 0 {
		t.Errorf("the second process wrote %q, %v", data, err)
	}
	picture, err := os.ReadFile(scene(t, 0))
	if err == nil {
		_, err = w.Write(picture)
	}
	if err = errors.Join(err, w.Close(), <-ended); err != nil {
		t.Errorf("the first process: %v\n%s", err, told.String())
	}
	if data, err := os.ReadFile(filepath.Join(out, "items.jsonl")); err != nil || bytes.Count(data, []byte("\n")) != 1 ||
		bytes.Contains(data, []byte(`"error"`)) {
		t.Errorf("%s, %v", data, err)
	}
}
