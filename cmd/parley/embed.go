package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/finite"
	"parley/nets/models"
	"parley/nets/pixels"
)

func (a *app) embed() *cobra.Command {
	var lines []string
	var pooled bool
	c := &cobra.Command{Use: "embed [FILE…] [--text TEXT]…", Short: "Embed pictures and texts with CLIP",
		Example: "  parley embed --json cat.jpg\n  parley embed --json --text \"a cat\" --text \"a dog\"",
		Long:    "Embeddings have length 1. JSON: [{\"file\" or \"text\", \"embedding\", \"error\"}], where a file that could not be read has an error and the others go on."}
	c.Flags().StringArrayVarP(&lines, "text", "t", nil, "text; may be repeated")
	c.Flags().BoolVar(&pooled, "pooled", false, "before the projection, as the paper's authors did")
	c.RunE = func(cmd *cobra.Command, files []string) error {
		files, lines := apart(files, lines)
		if len(files)+len(lines) == 0 {
			return usage("embed: name picture files, or texts with --text")
		}
		j, err := a.openCLIP()
		if err != nil {
			return err
		}
		defer j.Close()
		o := models.EmbedOptions{Pooled: pooled}
		type entry struct {
			File      string    `json:"file,omitempty"`
			Text      *string   `json:"text,omitempty"`
			Embedding []float32 `json:"embedding"`
			Error     string    `json:"error,omitempty"`
		}
		out := []entry{}
		var wrong error // of single items, of which the others go on
		failed := a.each(cmd.Context(), files, func(names []string, pictures []pixels.Picture) error {
			m, err := j.EmbedImages(a.run(cmd), pictures, o)
			some, err := items(err)
			if err != nil {
				return err
			}
			for i, f := range names {
				if some[i] != nil {
					out = append(out, entry{File: f, Embedding: []float32{}, Error: some[i].Error()})
					wrong = errors.Join(wrong, fmt.Errorf("%s: %w", f, some[i]))
					continue
				}
				out = append(out, entry{File: f, Embedding: row(m.Data().([]float32), len(names), i)})
			}
			return nil
		}, func(name string, err error) {
			out = append(out, entry{File: name, Embedding: []float32{}, Error: err.Error()})
		})
		if len(lines) > 0 && cmd.Context().Err() == nil {
			m, err := j.EmbedTexts(a.run(cmd), lines, o)
			some, err := items(err)
			if err != nil {
				return err
			}
			for i := range lines {
				if some[i] != nil {
					out = append(out, entry{Text: &lines[i], Embedding: []float32{}, Error: some[i].Error()})
					wrong = errors.Join(wrong, fmt.Errorf("%q: %w", lines[i], some[i]))
					continue
				}
				out = append(out, entry{Text: &lines[i], Embedding: row(m.Data().([]float32), len(lines), i)})
			}
		}
		failed = errors.Join(failed, wrong)
		if a.json {
			return errors.Join(a.print(out), failed)
		}
		for _, e := range out {
			name := e.File
			if e.Text != nil {
				name = *e.Text
			}
			if e.Error != "" {
				continue // told at the end
			}
			fmt.Fprintf(a.out, "%s\t%d numbers:", terminal.Plain(name), len(e.Embedding))
			for _, v := range e.Embedding[:min(4, len(e.Embedding))] {
				fmt.Fprintf(a.out, " %.4f", v)
			}
			fmt.Fprintln(a.out, " … (--json has them all)")
		}
		return failed
	}
	return c
}

// items tells errors of single items from one of all.
func items(err error) (finite.Items, error) {
	var some finite.Items
	if errors.As(err, &some) {
		return some, nil
	}
	return nil, err
}

func row(data []float32, n, i int) []float32 {
	d := len(data) / n
	return data[i*d : (i+1)*d]
}
