package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/pixels"
)

func (a *app) caption() *cobra.Command {
	var f captionFlags
	var k int
	var seed uint64
	c := &cobra.Command{Use: "caption FILE…", Short: "Describe pictures", Args: cobra.MinimumNArgs(1),
		Example: "  parley caption cat.jpg\n  parley caption --beam 3 *.png\n  parley caption -k 10 --json cat.jpg",
		Long:    "Describes each picture: one caption by beam search, several by sampling. JSON: [{\"file\", \"captions\": [{\"text\", \"score\"}], \"error\"}], where a file that could not be read has an error and the others go on; the score is the mean log probability of a token, of beams as transformers' sequences_scores."}
	f.add(c)
	c.Flags().IntVarP(&k, "k", "k", 1, "captions of each picture")
	c.Flags().Uint64Var(&seed, "seed", 0, "of sampling")
	c.RunE = func(cmd *cobra.Command, files []string) error {
		if k < 1 || k > mostK {
			return usage("-k %d: want 1 to %d", k, mostK)
		}
		if err := f.check(); err != nil {
			return err
		}
		m, err := a.openBLIP()
		if err != nil {
			return err
		}
		defer m.Close()
		o := f.options(cmd, k == 1)
		type caption struct {
			Text  string  `json:"text"`
			Score float64 `json:"score"`
		}
		type entry struct {
			File     string    `json:"file"`
			Captions []caption `json:"captions"`
			Error    string    `json:"error,omitempty"`
		}
		out := []entry{}
		var wrong error // of single pictures, of which the others go on
		failed := a.each(cmd.Context(), files, func(names []string, pictures []pixels.Picture) error {
			all, err := m.Caption(a.run(cmd), pictures, k, slices.Repeat([]uint64{seed}, len(pictures)), o)
			if err != nil {
				return err
			}
			for i, list := range all {
				e := entry{File: names[i], Captions: []caption{}}
				for _, c := range list {
					if c.Err != nil {
						if e.Error == "" {
							e.Error = c.Err.Error()
							wrong = errors.Join(wrong, fmt.Errorf("%s: %w", names[i], c.Err))
						}
						continue
					}
					e.Captions = append(e.Captions, caption{c.Text, c.Score})
					if a.json {
						continue
					}
					if len(files) > 1 {
						fmt.Fprintf(a.out, "%s: ", terminal.Plain(names[i]))
					}
					fmt.Fprintln(a.out, terminal.Plain(c.Text))
				}
				out = append(out, e)
			}
			return nil
		}, func(name string, err error) { out = append(out, entry{name, []caption{}, err.Error()}) })
		failed = errors.Join(failed, wrong)
		if a.json {
			return errors.Join(a.print(out), failed)
		}
		return failed
	}
	return c
}
