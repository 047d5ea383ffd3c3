package results

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"parley/nets/pixels"
	"parley/nets/pixels/parameters"
	"parley/nets/rerank"
	"parley/output"
)

// Folder writes results as they come: each picture once, a line of
// results.jsonl for each source, and contact sheets of some sources each. Close
// writes result.json, which has all of them. What is written stays when the
// process ends before that. Memory is that of one sheet's thumbnails.
type Folder struct {
	dir   string
	o     Options
	lines *os.File
	n     int // sources so far
	page  []*rerank.Result
	pages int

	closed bool
}

// Options say what a Folder may replace, and what its pictures tell.
type Options struct {
	// Force writes over what an earlier run has left in the folder.
	Force bool
	// Own are sources whose earlier results may be replaced, where there are no
	// other pictures.
	Own []string
	// Parameters, if any, tells how the picture of a result's candidate was drawn;
	// its PNG keeps it.
	Parameters func(r *rerank.Result, candidate int) parameters.Drawing
}

// The files of a folder.
const (
	linesFile  = "results.jsonl"
	resultFile = "result.json"
)

// perSheet is how many sources a contact sheet shows.
const perSheet = 16

// NewFolder makes the folder. What an earlier run has left there, results or
// pictures, is an error that is fs.ErrExist, unless the options say that it may
// be replaced.
func NewFolder(dir string, o Options) (*Folder, error) {
	if err := output.MakeFolder(dir); err != nil {
		return nil, err
	}
	if !o.Force {
		if err := vacant(dir, o.Own); err != nil {
			return nil, err
		}
		o.Force = o.Own != nil // what is there is our own
	}
	for _, name := range []string{resultFile, "sheet.png"} {
		if err := output.Check(filepath.Join(dir, name), o.file(output.Kind{})); err != nil {
			return nil, err
		}
	}
	f, err := output.CreateInPlace(filepath.Join(dir, linesFile), output.Options{Force: o.Force})
	if err != nil {
		return nil, err
	}
	return &Folder{dir: dir, o: o, lines: f}, nil
}

// file says how a file of the folder is written.
func (o Options) file(k output.Kind) output.Options {
	return output.Options{Kind: k, Force: o.Force, New: true}
}

// Names that runs give to their pictures, and to what there is one of.
var (
	numbered = regexp.MustCompile(`^\d{2,}-\d{2,}\.png$`)
	single   = regexp.MustCompile(`^sheet(-\d+)?\.png$|^result\.json$`)
)

// vacant fails where a folder has an earlier run's results or pictures, but for
// results of own sources alone.
func vacant(dir string, own []string) error {
	refuse := func(name string) error {
		return &output.ExistsError{Path: dir, Why: fmt.Sprintf("a folder with an earlier run's %s: name another, or write over it with --force",
			name)}
	}
	ours := map[string]bool{} // pictures of own sources
	results := 0
	in, err := os.Open(filepath.Join(dir, linesFile))
	if err == nil {
		defer in.Close()
		err = entries(in, func(e Entry) error {
			if !slices.Contains(own, e.Source) {
				return fs.ErrExist
			}
			results++
			for _, c := range e.Candidates {
				ours[filepath.Base(c.Image)] = true
			}
			return nil
		})
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return refuse(linesFile) // also where it is cut short, or no list of results
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := e.Name()
		if numbered.MatchString(name) && !ours[name] || single.MatchString(name) && results == 0 {
			return refuse(name)
		}
	}
	return nil
}

// Discard gives up a folder that is not closed. One to which nothing was appended
// is as it was.
func (f *Folder) Discard() error {
	if f.closed {
		return nil
	}
	f.closed = true
	err := f.lines.Close()
	if f.n == 0 {
		err = errors.Join(err, os.Remove(f.lines.Name()))
	}
	return err
}

// Append writes one result, or the error of a source that has none.
func (f *Folder) Append(r *rerank.Result, failed error) (Entry, error) {
	image := func(i int) string { return filepath.Join(f.dir, fmt.Sprintf("%02d-%02d.png", f.n, i)) }
	e := NewEntry(r, failed, image)
	for i, c := range r.Candidates {
		if e.Candidates[i].Image == "" {
			continue
		}
		encode := c.Picture.EncodePNG
		if f.o.Parameters != nil {
			encode = func(w io.Writer) error { return parameters.Encode(w, c.Picture, f.o.Parameters(r, i)) }
		}
		if err := output.Write(image(i), f.o.file(output.PNG), encode); err != nil {
			return e, err
		}
	}
	line, err := json.Marshal(e)
	if err != nil {
		return e, err
	}
	if _, err := f.lines.Write(append(line, '\n')); err != nil {
		return e, err
	}
	f.n++
	if r.Candidates == nil {
		return e, nil
	}
	f.page = append(f.page, thumbnails(r))
	if len(f.page) == perSheet {
		return e, f.turn()
	}
	return e, nil
}

// thumbnails is a result whose pictures are no larger than a sheet shows them.
func thumbnails(r *rerank.Result) *rerank.Result {
	small := *r
	small.Source.Picture = thumbnail(r.Source.Picture)
	small.Candidates = append([]rerank.Candidate(nil), r.Candidates...)
	for i := range small.Candidates {
		small.Candidates[i].Picture = thumbnail(r.Candidates[i].Picture)
		small.Candidates[i].Embedding = nil
	}
	return &small
}

func thumbnail(m *pixels.Image) *pixels.Image {
	if m == nil || max(m.W, m.H) <= tile {
		return m
	}
	w, h := fitted(m)
	return m.Resize(w, h, pixels.Lanczos)
}

// turn writes the contact sheet of the sources since the last.
func (f *Folder) turn() error {
	if len(f.page) == 0 {
		return nil
	}
	m, err := Sheet(f.page)
	if err != nil {
		return err
	}
	f.page, f.pages = nil, f.pages+1
	return output.Write(f.Sheet(f.pages), f.o.file(output.PNG), m.EncodePNG)
}

// Sheet is the file of the n-th contact sheet, from 1: sheet.png, sheet-2.png.
func (f *Folder) Sheet(n int) string {
	name := "sheet.png"
	if n > 1 {
		name = fmt.Sprintf("sheet-%d.png", n)
	}
	return filepath.Join(f.dir, name)
}

// Sheets is how many contact sheets are written.
func (f *Folder) Sheets() int { return f.pages }

// Result is the file with all results.
func (f *Folder) Result() string { return filepath.Join(f.dir, resultFile) }

// Close writes the last contact sheet and result.json.
func (f *Folder) Close() error {
	f.closed = true
	if err := errors.Join(f.turn(), f.lines.Close()); err != nil {
		return err
	}
	return output.Write(f.Result(), f.o.file(output.JSON), func(w io.Writer) error {
		b := bufio.NewWriter(w)
		if err := f.WriteJSON(b); err != nil {
			return err
		}
		return b.Flush()
	})
}

// WriteJSON writes all results so far as one array, an entry at a time.
func (f *Folder) WriteJSON(w io.Writer) error {
	in, err := os.Open(f.lines.Name())
	if err != nil {
		return err
	}
	defer in.Close()
	comma := "["
	if err := entries(in, func(e Entry) error {
		data, err := json.MarshalIndent(e, "  ", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n  %s", comma, data)
		comma = ","
		return err
	}); err != nil {
		return err
	}
	end := "\n]\n"
	if comma == "[" {
		end = "[]\n"
	}
	_, err = io.WriteString(w, end)
	return err
}

// entries reads a results.jsonl.
func entries(in io.Reader, each func(Entry) error) error {
	d := json.NewDecoder(bufio.NewReader(in))
	for d.More() {
		var e Entry
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("%s: %w", linesFile, err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}
