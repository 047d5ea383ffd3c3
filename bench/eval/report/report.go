// Package report makes the paper's table and figures (arXiv 2212.12249: Table 1,
// Figures 3 to 5) of an evaluation's lines: one page of HTML that needs nothing
// else, the same in Markdown, numbers in JSON, and each figure as SVG and PNG.
package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	text "text/template"
	"time"

	"parley/bench/eval"
	"parley/engine"
	"parley/output"
)

// Options are what a report can be told.
type Options struct {
	Out        string        // the folder; "": report in the run's
	MeteorData string        // see score.Options
	Judges     *Judges       // nil: none
	Run        engine.Run    // under which they judge
	Refresh    time.Duration // the page is loaded again after so long, as long as the run is not complete; 0: it is not
}

// Result is what a report says.
type Result struct {
	Out   string // the page
	Total int    // items of the run
	Done  int
	// Failed are those of them that have no result.
	Failed int
	Table  []Row
	// Domains are NoCaps', if the data set has them.
	Domains []Domain
	// Correlations of the choice's score with the figures' measures.
	Correlations []Correlation
	Notes        []string
}

// Complete reports whether all items are done.
func (r *Result) Complete() bool { return r.Done == r.Total }

// Write makes the report of a run's folder, also while the run writes it: of the lines
// that there are. Memory is that of the captions and
// numbers of all items.
func Write(dir string, o Options) (*Result, error) {
	out := cmp.Or(o.Out, filepath.Join(dir, "report"))
	if err := free(out); err != nil {
		return nil, err
	}
	r, err := read(dir)
	if err != nil {
		return nil, err
	}
	if r.settings.Task == eval.Image && len(r.items) > 0 {
		if err := r.captionMetrics(o.MeteorData); err != nil {
			return nil, err
		}
	}
	if o.Judges != nil && len(r.items) > 0 {
		if err := o.Judges.judge(o.Run, r); err != nil {
			return nil, err
		}
	}
	p := page{Settings: r.settings, Total: r.total, Done: r.done, Failed: r.failed, Problems: r.problems, Rule: rule}
	if len(r.items) > 0 {
		if p.Table, err = r.table(); err != nil {
			return nil, err
		}
		if p.Domains, err = r.domains(); err != nil {
			return nil, err
		}
		var scores [][]float64
		for _, it := range r.items {
			scores = append(scores, it.score)
		}
		for _, m := range r.primary() {
			if m.sets != nil {
				continue
			}
			p.Correlations = append(p.Correlations, correlate(m.label, scores, m.values))
		}
		if p.Figures, err = r.figures(); err != nil {
			return nil, err
		}
		if p.Examples, err = r.examples(); err != nil {
			return nil, err
		}
	}
	p.fill(r, o)
	if err := output.MakeFolder(out); err != nil {
		return nil, err
	}
	res := &Result{filepath.Join(out, "index.html"), p.Total, p.Done, p.Failed, p.Table, p.Domains, p.Correlations, r.notes}
	return res, p.write(out)
}

// summary is the file by which a report's folder is known.
const summary = "report.json"

// free refuses a folder that holds something else than a report.
func free(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == summary }) {
		return fmt.Errorf("%s holds other files than a report's: want a folder that is new, empty or an earlier report's", dir)
	}
	return nil
}

// page is what the templates show.
type page struct {
	Settings     *eval.Settings
	Title        string
	Text         bool // the text task
	Total, Done  int
	Shown        int // items that the numbers are of
	Failed       int
	Problems     []problem
	Refresh      int // seconds; 0: complete
	Table        []Row
	Domains      []Domain
	Correlations []Correlation
	Figures      []Figure
	Examples     []Example
	Rule         string
	Measure      string // of the examples
	Steps        float64
	WholeSteps   int
	Models       []string
	Groups       []Domain // the whole table, and behind it those of domains
	Notes        []string
	HasBeam      bool
	HasCLIP      bool
	HasSentence  bool
	HasSets      bool
	HasLower     bool
	HasPictures  bool
	Made         string
}

func (p *page) fill(r *run, o Options) {
	s := r.settings
	p.Text, p.Shown, p.Notes = s.Task == eval.Text, len(r.items), r.notes
	p.Title = fmt.Sprintf("Reconstruction of %ss: %s", map[bool]string{true: "text", false: "image"}[p.Text], filepath.Base(s.Data.Name))
	if p.Done < p.Total && o.Refresh > 0 {
		p.Refresh = max(1, int(o.Refresh.Seconds()))
	}
	p.Groups = append([]Domain{{"all", p.Shown, p.Table}}, p.Domains...)
	for _, row := range p.Table {
		p.HasBeam, p.HasCLIP, p.HasSentence = p.HasBeam || row.HasBeam, p.HasCLIP || row.HasCLIP, p.HasSentence || row.OfSentence
		p.HasSets, p.HasLower = p.HasSets || row.OfSet, p.HasLower || row.LowerBetter
	}
	if list := r.primary(); len(list) > 0 {
		p.Measure = list[0].label
	}
	for _, it := range r.items {
		for _, n := range it.steps {
			p.Steps += float64(n)
		}
	}
	p.Steps /= max(1, float64(len(r.items)))
	p.WholeSteps = s.K * s.Draw.UNet * s.Drawings
	for _, name := range slices.Sorted(maps.Keys(s.Models)) {
		m := s.Models[name]
		p.Models = append(p.Models, fmt.Sprintf("%s: %s (%.12s…)", name, filepath.Base(m.Path), m.SHA256))
	}
	for _, e := range p.Examples {
		for _, c := range e.Candidates {
			p.HasPictures = p.HasPictures || c.Picture != ""
		}
	}
}

//go:embed page.html
var pageHTML string

//go:embed page.md
var pageMD string

// functions are those of both templates.
func functions() template.FuncMap {
	return template.FuncMap{
		"num": func(digits int, v float64) string { return minus(fmt.Sprintf("%.*f", digits, v)) },
		"signed": func(digits int, v float64) string {
			return minus(fmt.Sprintf("%+.*f", digits, v))
		},
		"percent": func(v float64) string { return minus(fmt.Sprintf("%+.1f %%", 100*v)) },
		"p": func(v float64) string {
			if v < .001 {
				return "< .001"
			}
			return strings.TrimPrefix(fmt.Sprintf("%.3f", v), "0")
		},
		"interval": func(digits int, d Interval) string {
			return minus(fmt.Sprintf("%+.*f [%+.*f, %+.*f]", digits, d.Value, digits, d.Low, digits, d.High))
		},
		"estimate": func(d Interval) string { return minus(fmt.Sprintf("%.2f [%.2f, %.2f]", d.Value, d.Low, d.High)) },
		"data": func(svg []byte) template.URL {
			return template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg))
		},
		"uri":  func(s string) template.URL { return template.URL(s) },
		"cell": func(s string) string { return cells.Replace(s) },
	}
}

//go:embed style.html
var styleHTML string

// execute fills a page that needs nothing else.
func execute(w io.Writer, page string, v any) error {
	t, err := template.New("page").Funcs(functions()).Parse(page)
	if err == nil {
		_, err = t.Parse(styleHTML)
	}
	if err != nil {
		return err
	}
	return t.Execute(w, v)
}

// minus has a sign of the digits' width.
func minus(s string) string { return strings.ReplaceAll(s, "-", "−") }

// cells makes a text fit for a cell of Markdown.
var cells = strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ", "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`)

func (p *page) write(dir string) error {
	var html, md bytes.Buffer
	if err := execute(&html, pageHTML, p); err != nil {
		return err
	}
	m, err := text.New("page").Funcs(text.FuncMap(functions())).Parse(pageMD)
	if err != nil {
		return err
	}
	if err := m.Execute(&md, p); err != nil {
		return err
	}
	data, err := json.MarshalIndent(struct {
		Task         string        `json:"task"`
		Items        int           `json:"items"`
		Total        int           `json:"total"`
		Failed       int           `json:"failed"`
		UNetSteps    float64       `json:"unet_steps_per_item"`
		Table        []Row         `json:"table"`
		Domains      []Domain      `json:"domains,omitempty"`
		Correlations []Correlation `json:"correlations"`
		Notes        []string      `json:"notes"`
	}{p.Settings.Task, p.Shown, p.Total, p.Failed, p.Steps, p.Table, p.Domains, p.Correlations, p.Notes}, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"report.md": md.Bytes(), summary: append(data, '\n')}
	for _, f := range p.Figures {
		files[f.Name+".svg"], files[f.Name+".png"] = f.SVG, f.PNG
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := output.WriteFile(filepath.Join(dir, name), files[name], output.Options{}); err != nil {
			return err
		}
	}
	return output.WriteFile(filepath.Join(dir, "index.html"), html.Bytes(), output.Options{})
}

// Follow writes the report again and again until the run is complete, or wait fails.
func Follow(dir string, o Options, wait func() error, each func(*Result)) (*Result, error) {
	for {
		r, err := Write(dir, o)
		if err != nil {
			return nil, err
		}
		each(r)
		if r.Complete() {
			return r, nil
		}
		if err := wait(); err != nil {
			return r, err
		}
	}
}
