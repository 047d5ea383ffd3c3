package main

import (
	"bytes"

	"github.com/spf13/cobra"

	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

func (a *app) demo() *cobra.Command {
	f := &loopFlags{}
	c := &cobra.Command{Use: "demo", Short: "See both reconstructions on the embedded models", Args: cobra.NoArgs,
		Example: "  parley demo\n  parley demo --seed 7 -k 8",
		Long: "Takes three held-out pictures and two texts of the miniature world. JSON as reconstruct's. The results of an earlier demo " +
			"in --out are replaced."}
	f.add(a, c, 6)
	f.addFolder(c)
	f.addDrawings(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		scenes, err := mini.Test()
		if err != nil {
			return err
		}
		var sources []rerank.Source
		for i, n := range []int{4, 17, 31, 8, 50} {
			src := rerank.Source{Name: scenes[n].File, Seed: rerank.SourceSeed(f.seed.value, i)}
			if i < 3 {
				if src.Picture, err = pixels.Decode(bytes.NewReader(scenes[n].PNG)); err != nil {
					return err
				}
			} else {
				src.Name = scenes[n].Captions[0]
			}
			sources = append(sources, src)
			f.own = append(f.own, src.Name)
		}
		return a.reconstructAll(cmd, f, true, func(yield func(rerank.Source, error) bool) {
			for _, s := range sources {
				if !yield(s, nil) {
					return
				}
			}
		})
	}
	return c
}
