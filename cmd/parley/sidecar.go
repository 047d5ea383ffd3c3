package main

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"parley/nets/pixels/batch"
	"parley/output"
)

// sidecar writes captions beside their pictures.
type sidecar struct {
	on, skip, force bool
	extension       string
	prefix          string
	swept           map[string]bool // folders
	taken           map[string]bool // files that a picture of this run has
}

func (s *sidecar) add(c *cobra.Command) {
	c.Flags().BoolVar(&s.on, "sidecar", false, "write the captions of cat.jpg to cat.txt beside it, one a line")
	c.Flags().StringVar(&s.extension, "sidecar-ext", ".txt", "with --sidecar: its ending")
	c.Flags().BoolVar(&s.skip, "skip-existing", false, "with --sidecar: leave out pictures that have one")
	c.Flags().BoolVar(&s.force, "force", false, "with --sidecar: write over those that are there")
	c.Flags().StringVar(&s.prefix, "prefix", "", "text that is put before every caption")
}

func (s *sidecar) check() error {
	s.swept, s.taken = map[string]bool{}, map[string]bool{}
	if s.extension = "." + strings.TrimPrefix(s.extension, "."); s.extension == "." || strings.ContainsAny(s.extension, `/\`) {
		return usage("--sidecar-ext %q: want an ending such as .txt", s.extension)
	}
	if batch.IsPicture(s.extension) || batch.IsPicture("x"+s.extension) {
		return usage("--sidecar-ext %s: a caption is no picture", s.extension)
	}
	if s.skip && s.force {
		return usage("--skip-existing and --force exclude each other")
	}
	if (s.skip || s.force) && !s.on {
		return usage("--skip-existing and --force: only with --sidecar")
	}
	return nil
}

func (s *sidecar) path(picture string) string {
	return strings.TrimSuffix(picture, filepath.Ext(picture)) + s.extension
}

// left are the sources that are to be described. Where a sidecar is in the way,
// the picture is not even decoded.
func (s *sidecar) left(sources iter.Seq[batch.Source]) iter.Seq[batch.Source] {
	if !s.on {
		return sources
	}
	return func(yield func(batch.Source) bool) {
		for src := range sources {
			if src.Err == nil {
				path := s.path(src.Name)
				_, err := os.Stat(path)
				switch {
				case src.Name == "-":
					src.Err = errors.New("standard input: there is no place beside it for --sidecar")
				case s.taken[path]:
					src.Err = fmt.Errorf("%s: the captions of another picture of this run go to %s", src.Name, path)
				case errors.Is(err, fs.ErrNotExist) || s.force:
					s.taken[path] = true
				case s.skip:
					continue
				default:
					src.Err = fmt.Errorf("%s: %s exists: leave it out with --skip-existing, or write over it with --force", src.Name, path)
				}
			}
			if !yield(src) {
				return
			}
		}
	}
}

// write writes the captions of a picture.
func (s *sidecar) write(picture string, captions []string) error {
	if !s.on {
		return nil
	}
	path := s.path(picture)
	if dir := filepath.Dir(path); !s.swept[dir] {
		s.swept[dir] = true
		if err := output.Sweep(dir); err != nil {
			return err
		}
	}
	return output.WriteFile(path, []byte(strings.Join(captions, "\n")+"\n"), output.Options{New: true, Force: s.force})
}
