package eval

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inNamespace is the variable under which a test has mounts of its own.
const inNamespace = "PARLEY_TEST_NAMESPACE"

// TestFaults runs TestDisk as an ordinary user with mounts of its own, which nobody
// else sees and which end with it.
func TestFaults(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	id := os.Getuid()
	if id == 0 {
		id = 65534
	}
	dir := t.TempDir()
	for at := dir; at != filepath.Dir(os.TempDir()) && at != "/" && at != os.TempDir(); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	self = filepath.Join(dir, "eval.test") // where that user may read it
	if err := os.WriteFile(self, program, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "-test.run", "^TestDisk$", "-test.v")
	c.Dir, c.Env = dir, append(os.Environ(), inNamespace+"=1", "TMPDIR="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}},
		Credential:  &syscall.Credential{NoSetGroups: true}}
	out, err := c.CombinedOutput()
	var no *exec.ExitError
	if err != nil && !errors.As(err, &no) {
		t.Skipf("no namespaces for ordinary users here: %v", err)
	}
	if strings.Contains(string(out), "no mounts here") {
		t.Skipf("%s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDisk") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDisk: a full disk and a read-only folder end a run with an error that says so,
// whole lines stay, and the same command goes on.
func TestDisk(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		t.Skip("run by TestFaults")
	}
	e := experiment(world(t, 23), Image)
	e.Together = 2
	whole := filepath.Join(t.TempDir(), "whole")
	must(t, whole, e)
	want := read(t, itemsFile(whole))
	for _, keep := range []string{"", "png"} {
		disk := t.TempDir()
		mount := func(flags uintptr, options string) {
			t.Helper()
			if err := syscall.Mount("small", disk, "tmpfs", flags, options); err != nil {
				t.Fatalf("no mounts here: %v", err)
			}
		}
		mount(0, "size=24k")
		dir := filepath.Join(disk, "run")
		e.Settings.Keep = keep
		s, err := Run(background, dir, e)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("a full disk: %v", err)
		}
		have := read(t, itemsFile(dir))
		if n := strings.Count(have, "\n"); s.Done != n {
			t.Errorf("%d lines are there, %d are told", n, s.Done)
		}
		if have == "" || have == want || keep == "" && !strings.HasPrefix(want, have) || !strings.HasSuffix(have, "\n") {
			t.Errorf("behind a full disk: %d bytes of %d, the last %q", len(have), len(want), have[max(0, len(have)-20):])
		}
		mount(syscall.MS_REMOUNT, "size=8m")
		s = must(t, dir, e)
		if s.Done != 23 || s.Now == 23 {
			t.Errorf("%+v", s)
		}
		if keep == "" && read(t, itemsFile(dir)) != want {
			t.Error("other bytes behind a full disk")
		}
		mount(syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		if _, err := Run(background, dir, e); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) {
			t.Errorf("a read-only folder: %v", err)
		}
		if _, err := Run(background, filepath.Join(disk, "new"), e); !errors.Is(err, syscall.EROFS) {
			t.Errorf("a new folder of a read-only one: %v", err)
		}
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	}
}
