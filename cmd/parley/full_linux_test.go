package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/output/fulldisk"
)

// TestFullDiskOfFiles: every writer of files says that the disk is full, and leaves
// nothing by half.
func TestFullDiskOfFiles(t *testing.T) { fulldisk.Run(t, "48k", fullDisk) }

func fullDisk(t *testing.T, disk string) {
	png := scene(t, 7)
	ids := filepath.Join(t.TempDir(), "ids.safetensors")
	if err := os.WriteFile(ids, tensorFile(t, i64("input_ids", []int{1, 32}, make([]int64, 32)), i64("negative_ids", []int{1, 32},
		make([]int64, 32))), 0o666); err != nil {
		t.Fatal(err)
	}
	pictures := filepath.Join(disk, "pictures")
	for _, c := range []struct{ args, fill string }{
		{"draw --steps 1 --width 256 --height 256 --out " + disk + "/cat.png cat", ""},
		{"draw --steps 1 -k 8 --width 128 --height 128 --out " + disk + "/cats cat", ""},
		{"reconstruct text -k 3 --steps 1 --out " + disk + "/cat cat", ""},
		{"reconstruct image -k 3 --steps 1 --out " + disk + "/cat " + png, ""},
		{"convert ../../weights/mini/models/clip " + disk + "/clip", ""},
		{"forward pipeline --steps 1 --model ../../weights/mini/models/sd --in " + ids + " --out " + disk + "/x.safetensors", ""},
		{"man " + disk + "/man", ""},
		{"caption --sidecar " + pictures, "pictures/a.png"},
	} {
		if c.fill != "" { // to the last page
			data, err := os.ReadFile(png)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(pictures, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(disk, c.fill), data, 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(disk, "rest"), make([]byte, 1<<20), 0o666); err == nil {
				t.Fatal("the disk is not full")
			}
		}
		var out, errs bytes.Buffer
		code := run(context.Background(), strings.Fields(c.args), &out, &errs)
		if code != 1 || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("%s: code %d, %s%s", c.args, code, out.String(), errs.String())
		}
		err := filepath.WalkDir(disk, func(path string, d fs.DirEntry, err error) error {
			if strings.HasPrefix(d.Name(), ".parley-") {
				t.Errorf("%s: %s is left", c.args, path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		list, err := os.ReadDir(disk)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if err := os.RemoveAll(filepath.Join(disk, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}
