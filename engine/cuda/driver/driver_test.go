//go:build cuda

package driver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gorgonia.org/cu"
)

// libcuda.so.1 of a host, in few words of C. The number is what the driver
// says it is for, START what its cuInit answers.
const hostDriver = `
int cuInit(unsigned f) { return START; }
int cuDriverGetVersion(int *v) { *v = VERSION; return 0; }
int cuDeviceGetCount(int *n) { *n = DEVICES; return START; }
int cuGetErrorString(int r, const char **s) { *s = "as the driver says it"; return 0; }
int cuMemGetInfo_v2(unsigned long *f, unsigned long *t) { *f = 7; *t = 9; return 0; }
`

// TestHosts starts this test again in a process that finds one driver or
// another.
func TestHosts(t *testing.T) {
	if os.Getenv("PARLEY_TEST_HOST") != "" {
		state, words := Status()
		_, err := cu.NumDevices()
		free, total, infoErr := cu.MemInfo()
		_, allocErr := cu.MemAlloc(1)
		os.Stdout.WriteString("STATE " + strings.Join([]string{
			[]string{"ready", "no device", "too old", "broken", "no library"}[state], words,
			errText(err), errText(infoErr), errText(allocErr),
		}, "|") + "\n")
		if infoErr == nil && (free != 7 || total != 9) {
			t.Errorf("memory %d of %d, want 7 of 9", free, total)
		}
		return
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, defines, want string }{
		{"none", "", "no library|no NVIDIA driver: libcuda.so.1"},
		{"ready", "-DSTART=0 -DVERSION=12040 -DDEVICES=2", "ready|an NVIDIA driver for CUDA 12.4, devices: 2|ok|ok|NotFound"},
		{"newer", "-DSTART=0 -DVERSION=13010 -DDEVICES=1", "ready|an NVIDIA driver for CUDA 13.1, devices: 1|ok|ok|NotFound"},
		{"old", "-DSTART=0 -DVERSION=11080 -DDEVICES=1",
			"too old|the NVIDIA driver is for CUDA 11.8; Parley needs one for 12.4, which is 550 or later|"},
		{"without a device", "-DSTART=100 -DVERSION=12040 -DDEVICES=0", "no device|an NVIDIA driver for CUDA 12.4, and no device|"},
		{"with none left", "-DSTART=0 -DVERSION=12040 -DDEVICES=0", "no device|"},
		{"broken", "-DSTART=803 -DVERSION=12040 -DDEVICES=0",
			"broken|the NVIDIA driver does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (as the driver says it)|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.defines != "" {
				src := filepath.Join(dir, "host.c")
				if err := os.WriteFile(src, []byte(hostDriver), 0o644); err != nil {
					t.Fatal(err)
				}
				args := append(strings.Fields(c.defines), "-shared", "-fPIC", "-o", filepath.Join(dir, "libcuda.so.1"), src)
				if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestHosts$")
			cmd.Env = append(os.Environ(), "PARLEY_TEST_HOST=1", "LD_LIBRARY_PATH="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if c.name == "none" && !strings.Contains(string(out), "STATE no library") {
				t.Skip("this host has a driver")
			}
			if !strings.Contains(string(out), "STATE "+c.want) {
				t.Errorf("have %s\nwant STATE %s", out, c.want)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}
