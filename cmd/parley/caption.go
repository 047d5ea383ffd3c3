package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/pixels"
	"parley/nets/pixels/batch"
	"parley/nets/rerank"
)

func (a *app) caption() *cobra.Command {
	var f captionFlags
	var where find
	var beside sidecar
	var k int
	var first seed
	c := &cobra.Command{Use: "caption FILE…", Short: "Describe pictures", Args: cobra.MinimumNArgs(1),
		Example: "  parley caption cat.jpg\n  parley caption --beam 3 *.png\n  parley caption -k 10 --json cat.jpg\n" +
			"  parley caption --sidecar --skip-existing --recursive photos\n  find photos -name '*.jpg' | parley caption --jsonl -",
		Long: "Describes each picture: one caption by beam search, several by sampling." + finding + `

JSON: [{"file", "captions": [{"text", "score"}], "error"}]; the score is the mean
log probability of a token, of beams as transformers' sequences_scores. --jsonl
prints an entry a line. A name that is not UTF-8 has its bytes in "file_bytes", in
base64. Every picture is described with the same seed: its captions do not depend
on its neighbours.`}
	f.add(c)
	where.add(c)
	beside.add(c)
	c.Flags().IntVarP(&k, "k", "k", 1, "captions of each picture")
	addSeed(c.Flags(), &first, "of sampling, the same for all pictures")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o := f.options(cmd, k == 1)
		if !o.Sample && k > mostBeams {
			return usage("-k %d with --beam: want %d at most", k, mostBeams)
		}
		if err := beside.check(); err != nil {
			return err
		}
		m, err := a.openBLIP()
		if err != nil {
			return err
		}
		defer m.Close()
		type caption struct {
			Text  string  `json:"text"`
			Score float64 `json:"score"`
		}
		type entry struct {
			File      string    `json:"file"`
			FileBytes []byte    `json:"file_bytes,omitempty"`
			Captions  []caption `json:"captions"`
			Error     string    `json:"error,omitempty"`
		}
		out := entries{a: a}
		named := batch.Several(args)
		err = eachPicture(cmd.Context(), a, beside.left(where.sources(cmd, args)), func(pictures []pixels.Picture) ([][]rerank.Caption, error) {
			return m.Caption(a.run(cmd), pictures, k, slices.Repeat([]uint64{first.value}, len(pictures)), o)
		}, func(name string, captions []rerank.Caption, err error) error {
			e := entry{name, raw(name), []caption{}, ""}
			var texts []string
			for _, c := range captions {
				if c.Err != nil {
					err = cmp.Or(err, c.Err)
					continue
				}
				c.Text = beside.prefix + c.Text
				texts, e.Captions = append(texts, c.Text), append(e.Captions, caption{c.Text, c.Score})
			}
			if err == nil {
				err = beside.write(name, texts)
			}
			if err != nil {
				e.Error = err.Error()
			}
			for _, t := range texts {
				if a.json {
					break
				}
				if named {
					fmt.Fprintf(a.out, "%s: ", terminal.Plain(name))
				}
				fmt.Fprintln(a.out, terminal.Plain(t))
			}
			return cmp.Or(out.add(e), pictureFailed(err))
		})
		return errors.Join(out.end(), err)
	}
	return c
}
