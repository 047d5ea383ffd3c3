// Package coco reads data sets of pictures and what people wrote about them:
// COCO's annotations, Karpathy's splits of them, NoCaps with its domains, lists
// of pictures and texts, folders, and the embedded miniature world.
package coco

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"parley/nets/pixels"
	"parley/weights/mini"
)

// Item is a picture and what people wrote about it.
type Item struct {
	ID         string
	Image      string   // the name of its file, as the data set gives it
	References []string // none where the data set has no texts
	Domain     string   // of NoCaps: in, near or out; "" elsewhere
	open       func() (io.ReadCloser, error)
}

// Open opens the picture's file.
func (it Item) Open() (io.ReadCloser, error) { return it.open() }

// Picture reads and decodes the picture.
func (it Item) Picture() (*pixels.Image, error) {
	f, err := it.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := pixels.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", it.Image, err)
	}
	return m, nil
}

// Shard is a part of a data set: each Count-th item from the Index-th on, both
// counted from 1. The zero value is all of it.
type Shard struct{ Index, Count int }

// ParseShard reads "i/n".
func ParseShard(s string) (Shard, error) {
	a, b, ok := strings.Cut(s, "/")
	i, err1 := strconv.Atoi(a)
	n, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || i < 1 || i > n {
		return Shard{}, fmt.Errorf("shard %q: want i/n with i from 1 to n", s)
	}
	return Shard{i, n}, nil
}

// Has reports whether the i-th item, from 0, is of the shard.
func (s Shard) Has(i int) bool { return s.Count == 0 || i%s.Count == s.Index-1 }

// String is "i/n".
func (s Shard) String() string { return fmt.Sprintf("%d/%d", max(1, s.Index), max(1, s.Count)) }

// Options choose a part of a data set and say where its pictures are.
type Options struct {
	Images string // the folder of pictures; "": where the data set lies
	Split  string // of Karpathy's file: train, restval, val or test; "": test
	Domain string // of NoCaps: in, near or out; "": all
	Limit  int    // the first so many items; 0: all
}

// Set is a data set, or a part of one. Its items come in the order of its file,
// each time the same.
type Set struct {
	Name    string
	Note    string // what was guessed of its file, or left out; "": nothing
	options Options
	source  func(yield func(Item) bool) error
}

// Mini is the name of the embedded miniature world.
const Mini = "mini"

// Open opens a data set: Mini; a folder of pictures, with a COCO file
// captions.json or a text file beside each; a .tsv of pictures and texts; a .jsonl of
// {"image", "text"}; a .json of COCO's annotations, NoCaps' or Karpathy's
// dataset_coco.json. Of COCO's files the texts are held in memory, of the others
// nothing; pictures are read when they are asked for.
func Open(path string, o Options) (*Set, error) {
	if o.Limit < 0 {
		return nil, fmt.Errorf("limit %d: want 1 or more, or 0 for all", o.Limit)
	}
	switch o.Domain {
	case "", "in", "near", "out":
	default:
		return nil, fmt.Errorf("domain %q: want in, near or out", o.Domain)
	}
	s := &Set{Name: path, options: o}
	if path == Mini {
		if o.Images != "" {
			return nil, fmt.Errorf("%s has its pictures in it: images %s are asked for", path, o.Images)
		}
		if err := unsplit(path, o); err != nil {
			return nil, err
		}
		s.source = miniature
		return s, s.check()
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	home := filepath.Dir(path)
	if info.IsDir() {
		home = path
		if coco := filepath.Join(path, "captions.json"); exists(coco) {
			path, info = coco, nil
		}
	}
	if o.Images == "" {
		o.Images = home
	} else if in, err := os.Stat(o.Images); err != nil {
		return nil, err
	} else if !in.IsDir() {
		return nil, fmt.Errorf("%s: want a folder of pictures", o.Images)
	}
	pictures := folder(o.Images)
	ext := strings.ToLower(filepath.Ext(path))
	if info != nil && info.IsDir() || ext != ".json" {
		if err := unsplit(path, o); err != nil {
			return nil, err
		}
	}
	switch {
	case info != nil && info.IsDir():
		if s.options.Images != "" {
			return nil, fmt.Errorf("%s has its pictures in it: images %s are asked for", path, o.Images)
		}
		s.source = func(yield func(Item) bool) error { return readFolder(path, yield) }
	case ext == ".tsv":
		header, err := headerOf(path)
		if err != nil {
			return nil, err
		}
		if header != "" {
			s.Note = fmt.Sprintf("%s: its first line, %q, is taken for a header", path, header)
		}
		s.source = func(yield func(Item) bool) error { return readTSV(path, header != "", pictures, yield) }
	case ext == ".jsonl":
		s.source = func(yield func(Item) bool) error { return readJSONL(path, pictures, yield) }
	case ext == ".json":
		if s.source, s.Note, err = openJSON(path, pictures, o); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s: want %s, a folder, .json, .jsonl or .tsv", path, Mini)
	}
	return s, s.check()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// unsplit refuses a split of a file that has none.
func unsplit(path string, o Options) error {
	if o.Split == "" {
		return nil
	}
	return fmt.Errorf("%s: split %s is asked for, but only Karpathy's dataset_coco.json has splits", path, o.Split)
}

// check says what is wrong with the options for this set.
func (s *Set) check() error {
	if s.options.Domain == "" {
		return nil
	}
	for it, err := range s.all() {
		if err != nil {
			return err
		}
		if it.Domain != "" {
			return nil
		}
	}
	return fmt.Errorf("%s: domain %s is asked for, but its pictures have no domains: want NoCaps' annotations", s.Name, s.options.Domain)
}

// all are the items of the file.
func (s *Set) all() iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		stopped := false
		err := s.source(func(it Item) bool {
			stopped = !yield(it, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(Item{}, err)
		}
	}
}

// Items are the items that the options choose. An error ends them; it names the
// file and the entry.
func (s *Set) Items() iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		i := 0
		for it, err := range s.all() {
			if err == nil && s.options.Domain != "" && it.Domain != s.options.Domain {
				continue
			}
			if !yield(it, err) || err != nil {
				return
			}
			if i++; i == s.options.Limit {
				return
			}
		}
	}
}

func miniature(yield func(Item) bool) error {
	scenes, err := mini.Test()
	if err != nil {
		return err
	}
	for i, s := range scenes {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.PNG)), nil }
		if !yield(Item{ID: strconv.Itoa(i), Image: s.File, References: s.Captions, open: open}) {
			return nil
		}
	}
	return nil
}

// folder is where pictures lie.
type folder string

// item is an item whose picture is the first of the names that is there.
func (f folder) item(id string, names []string, references []string, domain string) Item {
	return Item{ID: id, Image: names[0], References: references, Domain: domain, open: func() (io.ReadCloser, error) {
		var first error
		for _, n := range names {
			path := filepath.Join(string(f), filepath.FromSlash(n))
			if filepath.IsAbs(n) {
				path = n
			}
			file, err := os.Open(path)
			if err == nil {
				return file, nil
			}
			if first == nil || !errors.Is(err, fs.ErrNotExist) {
				first = err
			}
		}
		if errors.Is(first, fs.ErrNotExist) && len(names) > 1 {
			return nil, fmt.Errorf("%w (nor %s)", first, strings.Join(names[1:], ", "))
		}
		return nil, first
	}}
}

// named are the names under which a picture may lie: as given, and without its
// folder.
func named(file string) []string {
	if base := filepath.Base(filepath.FromSlash(file)); base != file {
		return []string{file, base}
	}
	return []string{file}
}

// numbered are the names that COCO gives the picture of a number.
func numbered(id string) []string {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return []string{id + ".jpg", id + ".png"}
	}
	d := fmt.Sprintf("%012d.jpg", n)
	return []string{"COCO_val2014_" + d, "COCO_train2014_" + d, d, "val2014/COCO_val2014_" + d, "train2014/COCO_train2014_" + d, id +
		".jpg", id + ".png"}
}
