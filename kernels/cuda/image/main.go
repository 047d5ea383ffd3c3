// Command image packs what the kernels of a room were compiled to, and unpacks
// it: ptx.py calls it.
//
//	image pack op.tar.zst DIR       # of op.ptx and op.sm_NN.cubin in the folder
//	image unpack op.tar.zst DIR
//
// `tar --zstd -xf op.tar.zst` unpacks it, too.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"parley/engine/cuda"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: image pack|unpack FILE DIR")
		os.Exit(2)
	}
	run := map[string]func(string, string) error{"pack": pack, "unpack": unpack}[os.Args[1]]
	if run == nil {
		fmt.Fprintf(os.Stderr, "image %s: want pack or unpack\n", os.Args[1])
		os.Exit(2)
	}
	if err := run(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func pack(file, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "op.ptx"))
	if err != nil {
		return err
	}
	i := cuda.Image{PTX: string(text), Cubins: map[int]string{}}
	cubins, err := filepath.Glob(filepath.Join(dir, "op.sm_*.cubin"))
	if err != nil {
		return err
	}
	for _, c := range cubins {
		sm, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(c), "op.sm_"), ".cubin"))
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		code, err := os.ReadFile(c)
		if err != nil {
			return err
		}
		i.Cubins[sm] = string(code)
	}
	data, err := i.Pack()
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func unpack(file, dir string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	i, err := cuda.ReadImage(string(data))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "op.ptx"), []byte(i.PTX), 0o644); err != nil {
		return err
	}
	for sm, code := range i.Cubins {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("op.sm_%d.cubin", sm)), []byte(code), 0o644); err != nil {
			return err
		}
	}
	return nil
}
