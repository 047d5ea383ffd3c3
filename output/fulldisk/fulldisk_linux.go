package fulldisk

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Run runs f, of the test that calls it, in a process of its own, which has no rights
// outside, on a tmpfs of a size such as "48k", which ends with it. Where the system gives
// no namespaces of users the test is skipped.
func Run(t *testing.T, size string, f func(t *testing.T, disk string)) {
	const own = "PARLEY_TEST_DISK"
	if disk := os.Getenv(own); disk != "" {
		if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size="+size); err != nil {
			t.Fatal(err)
		}
		f(t, disk)
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), own+"="+t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	out, err := c.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no namespaces of users here: %v", err)
	}
	if err != nil || bytes.Contains(out, []byte("--- SKIP")) {
		t.Fatalf("%v\n%s", err, out)
	}
}
