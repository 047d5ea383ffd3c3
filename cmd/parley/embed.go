package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/models"
	"parley/nets/pixels"
)

func (a *app) embed() *cobra.Command {
	var lines []string
	var pooled bool
	var where find
	c := &cobra.Command{Use: "embed [FILE…] [--text TEXT]…", Short: "Embed pictures and texts with CLIP",
		Example: "  parley embed --json cat.jpg\n  parley embed --json --text \"a cat\" --text \"a dog\"\n  parley embed --jsonl --recursive " +
			"photos",
		Long: "Embeddings have length 1." + finding + `

JSON: [{"file" or "text", "embedding", "lost", "error"}], lost where the end of a
text was cut. A name that is not UTF-8 has its
bytes in "file_bytes", in base64.`}
	where.add(c)
	addClean(a, c)
	c.Flags().StringArrayVarP(&lines, "text", "t", nil, "text; may be repeated")
	c.Flags().BoolVar(&pooled, "pooled", false, "before the projection, as the paper's authors did")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		files, lines := apart(args, lines)
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
			FileBytes []byte    `json:"file_bytes,omitempty"`
			Text      *string   `json:"text,omitempty"`
			Lost      string    `json:"lost,omitempty"`
			Embedding []float32 `json:"embedding"`
			Error     string    `json:"error,omitempty"`
		}
		out := entries{a: a}
		add := func(e entry) error {
			if name := e.File; !a.json && e.Error == "" {
				if e.Text != nil {
					name = *e.Text
				}
				fmt.Fprintf(a.out, "%s\t%d numbers:", terminal.Plain(name), len(e.Embedding))
				for _, v := range e.Embedding[:min(4, len(e.Embedding))] {
					fmt.Fprintf(a.out, " %.4f", v)
				}
				fmt.Fprintln(a.out, " … (--json has them all)")
			}
			return out.add(e)
		}
		failed := eachPicture(cmd.Context(), a, where.sources(cmd, files), func(pictures []pixels.Picture) ([][]float32, error) {
			m, err := j.EmbedImages(a.run(cmd), pictures, o)
			if m == nil {
				return nil, err
			}
			return models.Rows(m), err
		}, func(name string, embedding []float32, err error) error {
			e := entry{File: name, FileBytes: raw(name), Embedding: embedding}
			if err != nil {
				e.Embedding, e.Error = []float32{}, err.Error()
			}
			return cmp.Or(add(e), pictureFailed(err))
		})
		const size = 64 // texts at once
		for lo := 0; lo < len(lines) && cmd.Context().Err() == nil && a.out.err == nil; lo += size {
			some := lines[lo:min(lo+size, len(lines))]
			m, err := j.EmbedTexts(a.run(cmd), some, o)
			bad, err := items(err)
			if err != nil {
				failed = errors.Join(failed, err)
				break
			}
			for i, embedding := range models.Rows(m) {
				e := entry{Text: &some[i], Embedding: embedding}
				if bad[i] != nil {
					e.Embedding, e.Error = []float32{}, bad[i].Error()
					failed = errors.Join(failed, fmt.Errorf("%q: %w", some[i], bad[i]))
				} else if e.Lost, err = a.lost(cmd, j.Lost, fmt.Sprintf("the text %.40q", some[i]), some[i], ""); err != nil {
					return err
				}
				if err := add(e); err != nil {
					return err
				}
			}
		}
		return errors.Join(out.end(), failed)
	}
	return c
}
