package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/models"
	"parley/nets/pixels"
)

func (a *app) score() *cobra.Command {
	var lines []string
	var where find
	c := &cobra.Command{Use: "score FILE… --text TEXT…", Short: "Hold pictures against texts with CLIP", Args: cobra.MinimumNArgs(1),
		Example: "  parley score cat.jpg dog.jpg --text \"a cat\" --text \"a dog\"\n  parley score --jsonl --recursive photos --text \"a cat\"",
		Long: "The cosine of each picture with each text." + finding + `

JSON: {"texts", "scores": [[…]], "files", "lost", "errors": [{"file", "error"}],
"error"}, a row of scores for each file, null for one with an error; a score that is
not a finite number is null, and "error" says why; "lost" has for each text the end
that was cut, where one was. --jsonl: a line {"file",
"scores", "error"} for each file, in which the scores are in the order of the
texts. Names that are not UTF-8 have their bytes, in base64, in "files_bytes" (a
line's "file_bytes").`}
	where.add(c)
	addClean(a, c)
	c.Flags().StringArrayVarP(&lines, "text", "t", nil, "text; may be repeated")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		files, lines := apart(args, lines)
		if len(lines) == 0 || len(files) == 0 {
			return usage("score: name picture files, and texts with --text")
		}
		j, err := a.openCLIP()
		if err != nil {
			return err
		}
		defer j.Close()
		texts, err := j.EmbedTexts(a.run(cmd), lines, models.EmbedOptions{})
		bad, err := items(err)
		if err != nil {
			return err
		}
		lost := make([]string, len(lines))
		var failed error
		for i, t := range lines {
			if bad[i] != nil {
				failed = errors.Join(failed, fmt.Errorf("%q: %w", t, bad[i]))
			} else if lost[i], err = a.lost(cmd, j.Lost, fmt.Sprintf("the text %.40q", t), t, ""); err != nil {
				return err
			}
		}
		rows := a.scoreRows(lines, lost)
		err = eachPicture(cmd.Context(), a, where.sources(cmd, files), func(pictures []pixels.Picture) ([][]*float64, error) {
			images, err := j.EmbedImages(a.run(cmd), pictures, models.EmbedOptions{})
			if images == nil {
				return nil, err
			}
			var out [][]*float64 // nil: there is none
			for _, row := range models.Cosines(images, texts) {
				scores := make([]*float64, len(row))
				for j := range row {
					if bad[j] == nil {
						scores[j] = &row[j]
					}
				}
				out = append(out, scores)
			}
			return out, err
		}, rows.add)
		return errors.Join(rows.end(failed), err, failed)
	}
	return c
}

// scoreRows prints rows of scores as they come.
type scoreRows struct {
	a      *app
	texts  []string
	lost   []string // of each text, the end that was cut
	list   entries
	files  []string // all that is kept of a row that is printed
	errors []scoreError
}

type scoreError struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

func (a *app) scoreRows(texts, lost []string) *scoreRows {
	r := &scoreRows{a: a, texts: texts, lost: lost, list: entries{a: a}}
	if !a.json {
		for _, t := range texts {
			fmt.Fprintf(a.out, "%s  ", pad(terminal.Plain(t)))
		}
		fmt.Fprintln(a.out)
	}
	return r
}

// pad makes a text as wide as a score.
func pad(s string) string {
	return s + strings.Repeat(" ", max(0, len("-0.123")-utf8.RuneCountInString(s)))
}

func (r *scoreRows) add(name string, scores []*float64, err error) error {
	if err != nil {
		scores = nil
	}
	return cmp.Or(r.print(name, scores, err), pictureFailed(err))
}

func (r *scoreRows) print(name string, scores []*float64, err error) error {
	switch {
	case r.a.jsonl:
		line := struct {
			File      string     `json:"file"`
			FileBytes []byte     `json:"file_bytes,omitempty"`
			Scores    []*float64 `json:"scores"`
			Error     string     `json:"error,omitempty"`
		}{File: name, FileBytes: raw(name), Scores: scores}
		if err != nil {
			line.Error = err.Error()
		}
		return r.list.add(line)
	case r.a.json:
		return r.row(name, scores, err)
	case err != nil:
		return nil // it is told
	}
	for i, v := range scores {
		width := utf8.RuneCountInString(pad(terminal.Plain(r.texts[i])))
		text := "     -"
		if v != nil {
			text = fmt.Sprintf("%6.3f", *v)
		}
		fmt.Fprintf(r.a.out, "%*s  ", -width, text)
	}
	fmt.Fprintln(r.a.out, terminal.Plain(name))
	return nil
}

// row prints a row of the matrix of --json.
func (r *scoreRows) row(name string, scores []*float64, err error) error {
	begin := ",\n    "
	if len(r.files) == 0 {
		begin = r.head()
	}
	r.files = append(r.files, name)
	if err != nil {
		r.errors = append(r.errors, scoreError{name, err.Error()})
	}
	data, err := json.Marshal(scores)
	if err == nil {
		_, err = r.a.out.Write(append([]byte(begin), data...))
	}
	return err
}

// head is the JSON before the first row.
func (r *scoreRows) head() string {
	texts, err := r.a.asJSON(r.texts, "  ")
	if err != nil { // strings always have a JSON form
		panic(err)
	}
	return fmt.Sprintf("{\n  \"texts\": %s,\n  \"scores\": [\n    ", bytes.TrimSpace(texts))
}

func (r *scoreRows) end(failed error) error {
	if !r.a.json || r.a.jsonl {
		return nil
	}
	var head string
	if len(r.files) == 0 {
		head, r.files = r.head(), []string{}
	}
	tail := struct {
		Files  []string     `json:"files"`
		Bytes  [][]byte     `json:"files_bytes,omitempty"`
		Lost   []string     `json:"lost,omitempty"`
		Errors []scoreError `json:"errors,omitempty"`
		Error  string       `json:"error,omitempty"` // of texts
	}{Files: r.files, Errors: r.errors}
	if strings.Join(r.lost, "") != "" {
		tail.Lost = r.lost
	}
	if failed != nil {
		tail.Error = failed.Error()
	}
	for i, f := range r.files {
		if raw(f) != nil && tail.Bytes == nil {
			tail.Bytes = make([][]byte, len(r.files))
		}
		if tail.Bytes != nil {
			tail.Bytes[i] = raw(f)
		}
	}
	data, err := r.a.asJSON(tail, "")
	if err != nil {
		return err
	}
	_, err = io.WriteString(r.a.out, head+"\n  ],"+strings.TrimPrefix(string(data), "{"))
	return cmp.Or(err, r.a.out.err)
}
