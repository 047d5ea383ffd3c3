package parley

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestImportOrder: a room imports only rooms before it.
func TestImportOrder(t *testing.T) {
	order := []string{"output", "engine", "kernels", "weights", "nets", "bench", "cmd"}
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Name", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	room := func(path string) int {
		rest, ok := strings.CutPrefix(path, "parley/")
		if !ok {
			return -1
		}
		return slices.Index(order, strings.Split(rest, "/")[0])
	}
	packages := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; packages++ {
		var p struct {
			ImportPath, Name string
			Imports          []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath == "parley" {
			continue
		}
		own := room(p.ImportPath)
		if own < 0 {
			t.Errorf("%s is in no room of %v", p.ImportPath, order)
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers"}, p.Name) {
			t.Errorf("%s: the name says nothing", p.ImportPath)
		}
		for _, i := range p.Imports {
			if other := room(i); other > own {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
	if packages < 25 {
		t.Errorf("only %d packages", packages)
	}
}

// TestLineLength: lines of Go that people write end at column 140.
func TestLineLength(t *testing.T) {
	lines := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "out" || path == ".git") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil || strings.HasPrefix(string(data), "// Code generated") {
			return err
		}
		for i, l := range strings.Split(string(data), "\n") {
			if lines++; utf8.RuneCountInString(l) > 140 && !strings.HasPrefix(l, "//go:") {
				t.Errorf("%s:%d has %d columns", path, i+1, utf8.RuneCountInString(l))
			}
		}
		return nil
	})
	if err != nil || lines < 10_000 {
		t.Errorf("%d lines, %v", lines, err)
	}
}
