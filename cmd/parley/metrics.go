package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"parley/bench/score"
)

func (a *app) metrics() *cobra.Command {
	var captions string
	var references []string
	var o score.Options
	var each bool
	c := &cobra.Command{Use: "metrics --hyp FILE --refs FILE", Short: "Score captions against people's", Args: cobra.NoArgs,
		Example: "  parley metrics --hyp results.json --refs captions_val2014.json\n" +
			"  parley metrics --hyp hyp.txt --refs ref1.txt --refs ref2.txt --json\n" +
			"  parley metrics --hyp results.json --refs captions_val2014.json --meteor-data venv/lib/python3.11/site-packages/pycocoevalcap/meteor",
		Long: `BLEU, METEOR, ROUGE-L and CIDEr as the COCO caption tools compute them, without
Java. --hyp: COCO's results ([{"image_id", "caption"}]), the same a line each
(.jsonl), or plain lines. --refs: COCO's annotations, Karpathy's, NoCaps', a
.jsonl or .tsv; for plain lines as many files of lines as there are references.
Images without a caption are left out, and said so. JSON: {"images", "scores", "notes", "each"}.`}
	c.Flags().StringVar(&captions, "hyp", "", "captions to be scored")
	c.Flags().StringArrayVar(&references, "refs", nil, "references; may be repeated for plain lines")
	c.Flags().StringVar(&o.MeteorData, "meteor-data", "", "folder of METEOR's data: pycocoevalcap/meteor of PyPI's pycocoevalcap 1.2")
	c.Flags().BoolVar(&o.Tokenized, "tokenized", false, "captions are tokens with a space between two already")
	c.Flags().BoolVar(&each, "each", false, "with --json: the scores of each image as well")
	c.RunE = func(*cobra.Command, []string) error {
		switch {
		case captions == "":
			return usage("--hyp FILE is needed: the captions to be scored")
		case len(references) == 0:
			return usage("--refs FILE is needed: the captions to hold them against")
		case each && !a.json:
			return usage("--each is for --json")
		}
		items, left, err := score.Read(captions, references)
		if err != nil {
			return err
		}
		r, err := score.Captions(items, o)
		if err != nil {
			return err
		}
		if left > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%d images of the references have no caption and are left out", left))
		}
		if a.json {
			return a.print(r.JSON(each))
		}
		return r.Table(a.out)
	}
	return c
}
