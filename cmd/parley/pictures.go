package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"parley/cmd/parley/terminal"
	"parley/nets/pixels"
)

// each hands pictures on in small batches, so that what is done is done when a
// later one fails or the work is stopped. A file that cannot be read is told to
// bad, in its place, and the others go on; its error is in what each returns.
func (a *app) each(ctx context.Context, files []string, batch func(names []string, pictures []pixels.Picture) error, bad func(name string, err error)) error {
	const size = 16
	var failed error
	progress := terminal.Progress(a.errs, "pictures")
	for lo := 0; lo < len(files); lo += size {
		var names []string
		var pictures []pixels.Picture
		flush := func() error {
			if len(names) == 0 {
				return nil
			}
			err := batch(names, pictures)
			names, pictures = nil, nil
			return err
		}
		hi := min(lo+size, len(files))
		for _, f := range files[lo:hi] {
			m, err := pixels.Read(f)
			if err == nil {
				names, pictures = append(names, f), append(pictures, m)
				continue
			}
			if err := flush(); err != nil { // the order of the files stays
				return errors.Join(failed, err)
			}
			bad(f, err)
			failed = errors.Join(failed, err)
		}
		if err := flush(); err != nil {
			return errors.Join(failed, err)
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(failed, err)
		}
		if progress != nil && len(files) > size {
			progress(hi, len(files))
		}
	}
	return failed
}

// apart tells pictures from texts in `--text A B C`: what follows a text and is no file is text
// too, unless it is named as a picture, whose absence is told when it is read.
func apart(args, texts []string) (files, all []string) {
	all = texts
	for _, a := range args {
		switch strings.ToLower(filepath.Ext(a)) {
		case ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp":
			files = append(files, a)
			continue
		}
		if _, err := os.Stat(a); err != nil && len(texts) > 0 {
			all = append(all, a)
		} else {
			files = append(files, a)
		}
	}
	return files, all
}
