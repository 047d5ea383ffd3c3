package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/finite"
	"parley/nets/pixels"
	"parley/nets/pixels/batch"
)

// reading are the flags of whatever reads pictures.
type reading struct{ pixels.Options }

func (f *reading) add(c *cobra.Command) {
	c.Flags().IntVar(&f.MaxPixels, "max-pixels", pixels.DefaultMaxPixels, "the largest picture that is read, in pixels")
	c.Flags().BoolVar(&f.ICC, "icc", false, "convert the colours of pictures with an ICC profile to sRGB, which transformers, diffusers and "+
		"open_clip do not")
}

// limited names the flag behind a picture that is too large.
func limited(err error) error {
	if large := (*pixels.LimitError)(nil); errors.As(err, &large) {
		return fmt.Errorf("%w; --max-pixels sets the limit", err)
	}
	return err
}

// find are the flags of commands that read many pictures.
type find struct {
	reading
	recursive bool
}

// finding is what their help says about arguments.
const finding = `

FILE is a picture; a folder, whose pictures are meant (with --recursive those of
its subfolders, too); a pattern such as 'photos/**/*.jpg'; @LIST, a file of names,
one a line or with NULs between them; or "-", the standard input: a picture or
such a list. A file that cannot be read is told, the others go on, and the exit
code is 1.`

func (f *find) add(c *cobra.Command) {
	f.reading.add(c)
	c.Flags().BoolVarP(&f.recursive, "recursive", "r", false, "folders with their subfolders")
}

func (f *find) sources(c *cobra.Command, args []string) iter.Seq[batch.Source] {
	return batch.Find{Recursive: f.recursive, Stdin: c.InOrStdin(), Read: f.Options}.Sources(args)
}

// failures tells what failed as it comes, and counts.
type failures struct {
	a         *app
	what      string // pictures
	bad, seen int
}

func (f *failures) tell(err error) {
	f.bad++
	fmt.Fprintf(f.a.errs, "parley: %v\n", err)
}

func (f *failures) err() error {
	if f.bad == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d %s failed", f.bad, f.seen, f.what)
}

// eachPicture has work done for pictures, some at once, while the next ones are
// decoded, and hands on what comes of each in their order: what is done is done
// when a later one fails or the work is stopped. A picture that cannot be read,
// or with which the work fails, is handed on with its error, which each returns
// as a pictureError to have it told.
func eachPicture[T any](ctx context.Context, a *app, sources iter.Seq[batch.Source],
	work func([]pixels.Picture) ([]T, error), each func(name string, result T, err error) error) error {
	const size = 16
	failed := failures{a: a, what: "pictures"}
	progress := terminal.Progress(a.errs, "pictures")
	for items := range batch.Groups(ctx, sources, size) {
		results, errs := workAll(ctx, items, work)
		if err := ctx.Err(); err != nil {
			return err
		}
		for i, item := range items {
			failed.seen++
			err := each(item.Name, results[i], errs[i])
			if of := (pictureError{}); errors.As(err, &of) {
				failed.tell(of)
			} else if err != nil {
				return err
			}
		}
		if a.out.err != nil {
			return a.out.err
		}
		if progress != nil && failed.seen >= size {
			progress(failed.seen, -1)
		}
	}
	if progress != nil && failed.seen >= size {
		progress(failed.seen, failed.seen)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return failed.err()
}

// pictureError is a failure with one picture, behind which the others go on.
type pictureError struct{ error }

func pictureFailed(err error) error {
	if err == nil {
		return nil
	}
	return pictureError{err}
}

// items tells errors of single items from one of all.
func items(err error) (finite.Items, error) {
	var some finite.Items
	if errors.As(err, &some) {
		return some, nil
	}
	return nil, err
}

// workAll does the work for the pictures that are there, and where it fails, for
// each alone.
func workAll[T any](ctx context.Context, sources []batch.Item, work func([]pixels.Picture) ([]T, error)) ([]T, []error) {
	results, errs := make([]T, len(sources)), make([]error, len(sources))
	var pictures []pixels.Picture
	var at []int
	for i, item := range sources {
		if errs[i] = limited(item.Err); item.Err == nil {
			pictures, at = append(pictures, item.Picture), append(at, i)
		}
	}
	if len(pictures) == 0 {
		return results, errs
	}
	all, err := work(pictures)
	some, err := items(err)
	for j, i := range at {
		one := all
		if err == nil {
			one, errs[i] = all[j:j+1], some[j]
		} else if errs[i] = err; len(at) > 1 && ctx.Err() == nil {
			one, errs[i] = work(pictures[j : j+1])
		}
		if errs[i] == nil {
			results[i] = one[0]
		} else {
			errs[i] = fmt.Errorf("%s: %w", sources[i].Name, errs[i])
		}
	}
	return results, errs
}

// apart tells pictures from texts in `--text A B C`: what follows a text and is no file is text
// too, unless it is named as a picture, whose absence is told when it is read.
func apart(args, texts []string) (files, all []string) {
	all = texts
	for _, a := range args {
		_, err := os.Stat(strings.TrimPrefix(a, "@"))
		if a == "-" || a == "@-" || batch.IsPicture(a) || err == nil || len(texts) == 0 {
			files = append(files, a)
		} else {
			all = append(all, a)
		}
	}
	return files, all
}
