package simd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGenerated fails when the assembly is not what asm/ generates: run go
// generate. Each file's first line is left out, as it holds the command.
func TestGenerated(t *testing.T) {
	dir := t.TempDir()
	const text, stubs = "simd_amd64.s", "stubs_amd64.go"
	cmd := exec.Command("go", "run", "./asm", "-out", filepath.Join(dir, text), "-stubs", filepath.Join(dir, stubs), "-pkg", "simd")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	for _, name := range []string{text, stubs} {
		var have [2][]byte
		for i, d := range []string{".", dir} {
			b, err := os.ReadFile(filepath.Join(d, name))
			if err != nil {
				t.Fatal(err)
			}
			_, have[i], _ = bytes.Cut(b, []byte("\n"))
		}
		if !bytes.Equal(have[0], have[1]) {
			t.Errorf("%s is stale: run go generate", name)
		}
	}
}
