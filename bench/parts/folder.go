package parts

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What may lie in a folder: it has to come back from the machine whole.
const (
	mostFiles = 8
	mostBytes = 16 << 20
	mostLog   = 1 << 20 // of log.txt for each part
	// What the run writes itself: report.md, report.json, events.jsonl, log.txt, and a report
	// that is not complete, which a run that is killed may leave. One more is the parts' own.
	ownFiles   = 5
	mostTables = mostFiles - ownFiles - 1
)

// Report is what a run found.
type Report struct {
	Title    string    `json:"title"`
	Lines    []string  `json:"about"` // of the machine, the device, the build
	Command  string    `json:"command"`
	Seconds  float64   `json:"seconds"`
	Failures int       `json:"failures"`
	Notes    int       `json:"notes"`
	Parts    []*Result `json:"parts"`
}

// Folder is where a run writes: report.md and report.json, rewritten as it goes;
// events.jsonl, a line for each event as it comes; log.txt, what parts wrote on
// stderr; and a table for each part that has one. At most 8 files, of 16 MiB each. What
// cannot be written does not stop the run: Close says why.
type Folder struct {
	dir    string
	err    error // the first that was met
	began  time.Time
	wrote  time.Time
	report Report
	events *capped
	text   *capped
	tables map[string]*table
}

type table struct {
	file  *capped
	width int
}

// Create makes the folder, which is empty or new: one that has a report already
// gets a folder within, so that nothing is lost.
func Create(dir string, report Report) (*Folder, error) {
	for n := 2; ; n++ {
		l, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		used := false
		for _, e := range l {
			used = used || e.Name() == "report.md" || e.Name() == "events.jsonl"
		}
		if !used {
			break
		}
		if n > 9 {
			return nil, fmt.Errorf("%s has results of %d runs: name another folder", dir, n-1)
		}
		if n > 2 {
			dir = filepath.Dir(dir)
		}
		dir = filepath.Join(dir, strconv.Itoa(n))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f := &Folder{dir: dir, began: time.Now(), report: report, tables: map[string]*table{}}
	var err error
	if f.events, err = create(dir, "events.jsonl"); err == nil {
		f.text, err = create(dir, "log.txt")
	}
	if err != nil {
		return nil, err
	}
	f.write()
	return f, f.err
}

// Path is the folder's, or that of a file in it.
func (f *Folder) Path(name ...string) string {
	return filepath.Join(append([]string{f.dir}, name...)...)
}

// Report is what was found so far.
func (f *Folder) Report() *Report { return &f.report }

// About adds a line about the machine to the report.
func (f *Folder) About(line string) { f.report.Lines = append(f.report.Lines, line) }

// capped is a file that stops at 16 MiB instead of growing.
type capped struct {
	f    *os.File
	left int
	torn bool // the last write ended in the middle
}

func create(dir, name string) (*capped, error) {
	f, err := os.Create(filepath.Join(dir, name))
	return &capped{f: f, left: mostBytes - 1<<10}, err
}

var errFull = errors.New("the file has its 16 MiB")

// Write appends p whole, in a line of its own where the disk was full within the last.
func (c *capped) Write(p []byte) (int, error) {
	if len(p)+1 > c.left {
		return 0, errFull
	}
	line := p
	if c.torn {
		line = append([]byte("\n"), p...)
	}
	n, err := c.f.Write(line)
	c.left -= n
	c.torn = n > 0 && err != nil || n == 0 && c.torn
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// note remembers the first error of writing.
func (f *Folder) note(err error) {
	if f.err == nil && !errors.Is(err, errFull) {
		f.err = err
	}
}

func (f *Folder) begin(r *Result) {
	f.report.Parts = append(f.report.Parts, r)
	f.write()
}

// log is where a part's stderr goes: its beginning, so that none takes the others' room.
func (f *Folder) log(part string) io.Writer {
	fmt.Fprintf(f.text, "\n=== %s\n", part)
	return &share{f.text, mostLog}
}

// share is a part's of the log.
type share struct {
	w    io.Writer
	left int
}

func (s *share) Write(p []byte) (int, error) {
	n := len(p)
	if s.left <= 0 {
		return n, nil
	}
	if n > s.left {
		p = append(slices.Clone(p[:s.left]), "\n=== and more\n"...)
	}
	s.left -= n
	_, err := s.w.Write(p)
	return n, err
}

// take writes an event down at once, and now and then the report.
func (f *Folder) take(part string, e Event) {
	if e.Head != nil || e.Row != nil {
		f.row(part, e)
		return
	}
	line, err := json.Marshal(struct {
		Part    string  `json:"part"`
		Seconds float64 `json:"at"`
		Event
	}{part, round(time.Since(f.began).Seconds()), e})
	if err == nil {
		_, err = f.events.Write(append(line, '\n'))
	}
	f.note(err)
	if time.Since(f.wrote) >= 2*time.Second {
		f.write()
	}
}

func (f *Folder) row(part string, e Event) {
	t := f.tables[part]
	if t == nil {
		if e.Head == nil || len(f.tables) == mostTables {
			f.lose(part, "rows without a head, or a table too many")
			return
		}
		file, err := create(f.dir, part+".csv")
		if err != nil {
			f.note(err)
			f.lose(part, "its table cannot be written")
			return
		}
		t = &table{file, len(e.Head)}
		f.tables[part] = t
		e.Row = e.Head
	}
	if e.Head != nil && len(e.Head) == t.width && e.Row == nil {
		return // again
	}
	if len(e.Row) != t.width {
		f.lose(part, fmt.Sprintf("a row of %d cells, the head has %d", len(e.Row), t.width))
		return
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(e.Row) // to memory
	w.Flush()
	if _, err := t.file.Write(b.Bytes()); err != nil {
		f.note(err)
		f.lose(part, "rows of its table are lost: "+err.Error())
	}
}

func (f *Folder) lose(part, why string) {
	for _, r := range f.report.Parts {
		if r.Name == part {
			r.fail(why)
		}
	}
}

// Close writes the report a last time. The error is the first of all that was met in
// writing.
func (f *Folder) Close() error {
	f.write()
	err := f.err
	for _, t := range f.tables {
		err = errors.Join(err, t.file.f.Close())
	}
	return errors.Join(err, f.events.f.Close(), f.text.f.Close())
}

// write replaces the reports, each in one step.
func (f *Folder) write() {
	r := &f.report
	r.Seconds, r.Failures, r.Notes = round(time.Since(f.began).Seconds()), 0, 0
	for _, p := range r.Parts {
		r.Failures += len(p.Failures)
		r.Notes += len(p.Notes)
	}
	f.wrote = time.Now()
	data, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = f.replace("report.json", append(data, '\n'))
	}
	f.note(err)
	f.note(f.replace("report.md", []byte(r.Markdown())))
}

func (f *Folder) replace(name string, data []byte) error {
	if len(data) > mostBytes {
		return fmt.Errorf("%s would have %d bytes", name, len(data))
	}
	temp := f.Path(".report")
	err := os.WriteFile(temp, data, 0o644)
	if err == nil {
		err = os.Rename(temp, f.Path(name))
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// Markdown is the report as a page.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", r.Title)
	for _, l := range r.Lines {
		fmt.Fprintf(&b, "%s\n\n", l)
	}
	fmt.Fprintf(&b, "`%s`: %d failures, %d notes in %.0f seconds.\n", r.Command, r.Failures, r.Notes, r.Seconds)
	list := func(what string, of func(*Result) []string) {
		for _, p := range r.Parts {
			for _, t := range of(p) {
				fmt.Fprintf(&b, "- %s%s: %s\n", what, p.Name, strings.ReplaceAll(t, "\n", "\n  "))
			}
		}
	}
	list("**failed**, ", func(p *Result) []string { return p.Failures })
	list("", func(p *Result) []string { return p.Notes })
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "\n## %s\n\n%s: `%s`, %.0f s.\n", p.Name, p.What, p.Command, p.Seconds)
		if p.Skipped != "" {
			fmt.Fprintf(&b, "\nLeft out: %s.\n", p.Skipped)
		}
		if len(p.Figures) == 0 {
			continue
		}
		b.WriteString("\n| figure | value | unit | of repetitions | MHz | W |\n| --- | --- | --- | --- | --- | --- |\n")
		for _, f := range p.Figures {
			fmt.Fprintf(&b, "| %s | %.4g | %s | %s | %s | %s |\n", f.Name, f.Value, f.Unit, extent(f.Between, "%.4g"), extent(f.Clock, "%.0f"),
				extent([]float64{f.Power}, "%.0f"))
		}
	}
	return b.String()
}

// extent is a least and a largest value, or nothing.
func extent(v []float64, format string) string {
	if len(v) == 0 || v[0] == 0 {
		return ""
	}
	a, b := fmt.Sprintf(format, v[0]), fmt.Sprintf(format, v[len(v)-1])
	if a == b {
		return a
	}
	return a + "–" + b
}
