package cuda

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBothBuildsHaveOneAPI: what a build without the tag declares, the other
// declares with the same signature.
func TestBothBuildsHaveOneAPI(t *testing.T) {
	with, without := map[string]string{}, map[string]string{}
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(filepath.Clean(f))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case bytes.HasPrefix(src, []byte("//go:build cuda\n")):
			err = declared(with, f, src)
		case bytes.HasPrefix(src, []byte("//go:build !cuda\n")):
			err = declared(without, f, src)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(without) < 25 {
		t.Errorf("only %d functions without the tag", len(without))
	}
	for name, sig := range without {
		if with[name] != sig {
			t.Errorf("%s: %s without the tag, %q with it", name, sig, with[name])
		}
	}
	// The interpreter is not part of a build without CUDA.
	only := []string{"Emulate", "Device.Machine", "Device.Emulation"}
	for name := range with {
		if without[name] == "" && !slices.Contains(only, name) {
			t.Errorf("%s is missing without the tag", name)
		}
	}
}

// declared adds the signatures of a file's exported functions, without the
// parameters' names.
func declared(sigs map[string]string, name string, src []byte) error {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, src, 0)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || !fn.Name.IsExported() {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil {
			var b bytes.Buffer
			err = errors.Join(err, printer.Fprint(&b, set, fn.Recv.List[0].Type))
			recv := strings.TrimPrefix(b.String(), "*")
			if !ast.IsExported(recv) {
				continue
			}
			name = recv + "." + name
		}
		var types []string
		for _, l := range []*ast.FieldList{fn.Type.Params, fn.Type.Results} {
			if l == nil {
				continue
			}
			for _, p := range l.List {
				var b bytes.Buffer
				err = errors.Join(err, printer.Fprint(&b, set, p.Type))
				for range max(len(p.Names), 1) {
					types = append(types, b.String())
				}
			}
			types = append(types, ";")
		}
		sigs[name] = strings.Join(types, " ")
	}
	return err
}
