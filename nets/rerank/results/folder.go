package results

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"parley/nets/pixels"
	"parley/nets/rerank"
)

// Folder writes results as they come: each picture once, a line of
// results.jsonl for each source, and contact sheets of some sources each. Close
// writes result.json, which has all of them. What is written stays when the
// process ends before that. Memory is that of one sheet's thumbnails.
type Folder struct {
	dir   string
	lines *os.File
	n     int // sources so far
	page  []*rerank.Result
	pages int
}

// perSheet is how many sources a contact sheet shows.
const perSheet = 16

// NewFolder makes the folder, or empties an earlier list of results there.
func NewFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, "results.jsonl"))
	if err != nil {
		return nil, err
	}
	return &Folder{dir: dir, lines: f}, nil
}

// Append writes one result, or the error of a source that has none.
func (f *Folder) Append(r *rerank.Result, failed error) (Entry, error) {
	image := func(i int) string { return filepath.Join(f.dir, fmt.Sprintf("%02d-%02d.png", f.n, i)) }
	e := NewEntry(r, failed, image)
	for i, c := range r.Candidates {
		if e.Candidates[i].Image != "" {
			if err := c.Picture.SavePNG(image(i)); err != nil {
				return e, err
			}
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
	return m.SavePNG(f.Sheet(f.pages))
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
func (f *Folder) Result() string { return filepath.Join(f.dir, "result.json") }

// Close writes the last contact sheet and result.json.
func (f *Folder) Close() error {
	if err := f.turn(); err != nil {
		return err
	}
	if err := f.lines.Close(); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(f.dir, ".result-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	w := bufio.NewWriter(tmp)
	if err := f.WriteJSON(w); err != nil {
		tmp.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.Result())
}

// WriteJSON writes all results so far as one array, an entry at a time.
func (f *Folder) WriteJSON(w io.Writer) error {
	in, err := os.Open(f.lines.Name())
	if err != nil {
		return err
	}
	defer in.Close()
	d := json.NewDecoder(bufio.NewReader(in))
	comma := "["
	for d.More() {
		var e Entry
		if err := d.Decode(&e); err != nil {
			return err
		}
		data, err := json.MarshalIndent(e, "  ", "  ")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n  %s", comma, data); err != nil {
			return err
		}
		comma = ","
	}
	end := "\n]\n"
	if comma == "[" {
		end = "[]\n"
	}
	_, err = io.WriteString(w, end)
	return err
}
