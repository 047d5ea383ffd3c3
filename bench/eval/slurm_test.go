package eval

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSlurm runs deploy/slurm.sbatch on a Slurm of its own, where Debian's slurm-wlm
// is installed and root may start it: an array of 4 of which a task is requeued comes,
// merged, to the single run.
func TestSlurm(t *testing.T) {
	for _, p := range []string{"slurmctld", "slurmd", "munged", "setpriv", "go"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: apt-get install slurm-wlm munge", err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("Slurm's daemons are root's")
	}
	parley := filepath.Join(t.TempDir(), "parley")
	build := exec.Command("go", "build", "-o", parley, "parley/cmd/parley")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := exec.Command("../../deploy/slurm-test", parley)
	c.Env = append(os.Environ(), "LIMIT=16")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "equal to the single run") {
		t.Errorf("%v\n%s", err, out)
	}
}
