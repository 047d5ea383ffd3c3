package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"parley/bench/random"
	"parley/bench/roofline"
)

// predict prints what the step should take, by the launches that it makes.
func predict(args []string, out io.Writer) error {
	f := flag.NewFlagSet("roofline", flag.ContinueOnError)
	data := f.String("data", ".", "the checkout")
	batch := f.Int("batch", 1, "pictures at once")
	write := f.Bool("w", false, "put the tables in bench/ROOFLINE.md instead")
	if err := f.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(*data, "kernels", "RESOURCES.md"))
	if err != nil {
		return err
	}
	r, err := roofline.ReadResources(text)
	if err != nil {
		return fmt.Errorf("kernels/RESOURCES.md: %w", err)
	}
	tables, err := roofline.Tables(r, random.SD15(), *batch)
	if err != nil {
		return err
	}
	if !*write {
		_, err = io.WriteString(out, tables)
		return err
	}
	path := filepath.Join(*data, "bench", "ROOFLINE.md")
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const begin, end = "<!-- tables -->\n", "<!-- end of the tables -->"
	head, rest, ok1 := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for the tables", path)
	}
	return os.WriteFile(path, []byte(head+begin+tables+end+tail), 0o644)
}
