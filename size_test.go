package parley

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTreeSize: a checkout stays small enough to be carried to a machine with a
// GPU, together with what `make gpu-bundle` makes (bench/results/README.md): 64 MiB
// for both. The miniature models are 17 MB of it.
func TestTreeSize(t *testing.T) {
	const most = 40e6
	total := int64(0)
	largest, size := "", int64(0)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			// What git ignores and git's own.
			if path == "out" || path == "bin" || path == ".git" || d.Name() == "__pycache__" {
				return fs.SkipDir
			}
			return nil
		}
		if path == ".git" || strings.HasSuffix(path, ".log") {
			return nil
		}
		i, err := os.Lstat(path)
		if err != nil {
			return err
		}
		total += i.Size()
		if i.Size() > size {
			largest, size = path, i.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB, of which %s has %.1f", float64(total)/1e6, largest, float64(size)/1e6)
	if total > most || total < 1e6 {
		t.Errorf("the tree has %.1f MB, want at most %.0f: pack goldens (weights/packed)", float64(total)/1e6, most/1e6)
	}
}
