package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"parley/bench/score"
	"parley/nets/inception"
	"parley/nets/models"
	"parley/nets/pixels"
)

func (a *app) fid() *cobra.Command {
	var weights string
	var where find
	c := &cobra.Command{Use: "fid PICTURES PICTURES --inception FILE", Short: "How far the pictures of two sets are apart (FID)",
		Args:    cobra.ExactArgs(2),
		Example: "  parley fid --inception pt_inception-2015-12-05-6726825d.pth val2014 drawings",
		Long: "The Fréchet inception distance between two sets of pictures, as pytorch-fid 0.3\ncomputes it." + finding + `

JSON: {"fid", "pictures": [N, M], "notes"}.`}
	where.add(c)
	c.Flags().StringVar(&weights, "inception", "", "weights of FID's Inception v3: pytorch-fid's pt_inception-2015-12-05-6726825d.pth")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if weights == "" {
			return usage("--inception FILE is needed: the weights that the features come from")
		}
		m, err := openedAt(a, "--inception", weights, models.OpenInception)
		if err != nil {
			return err
		}
		defer m.Close()
		out := struct {
			FID      float64  `json:"fid"`
			Pictures [2]int   `json:"pictures"`
			Notes    []string `json:"notes"`
		}{Notes: []string{}}
		var sets [2]*score.Features
		var failed error
		for i := range sets {
			sets[i] = score.NewFeatures(inception.Width)
			err := eachPicture(cmd.Context(), a, where.sources(cmd, args[i:i+1]), func(pictures []pixels.Picture) ([][]float32, error) {
				x, err := m.Features(a.run(cmd), pictures)
				if x == nil {
					return nil, err
				}
				return models.Rows(x), err
			}, func(_ string, row []float32, err error) error {
				if err != nil {
					return pictureFailed(err)
				}
				out.Pictures[i]++
				return sets[i].AddRow(row)
			})
			if cmd.Context().Err() != nil || a.out.err != nil {
				return err
			}
			if err != nil {
				failed = fmt.Errorf("%s: %w", args[i], err)
			}
		}
		if out.FID, err = score.FID(sets[0], sets[1]); err != nil {
			return err
		}
		if n := min(out.Pictures[0], out.Pictures[1]); !score.FullRank(n, inception.Width) {
			out.Notes = append(out.Notes, fmt.Sprintf("of %d pictures the covariance of %d features is not of full rank: "+
				"compare with distances of as many pictures only", n, inception.Width))
		}
		if a.json {
			err = a.print(out)
		} else {
			_, err = fmt.Fprintf(a.out, "FID %.4f of %d and %d pictures\n", out.FID, out.Pictures[0], out.Pictures[1])
			for _, n := range out.Notes {
				fmt.Fprintln(a.out, n)
			}
		}
		if err != nil {
			return err
		}
		return failed
	}
	return c
}
