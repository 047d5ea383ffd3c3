package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"parley/bench/score"
	"parley/bench/score/judge"
	"parley/nets/models"
)

func (a *app) metrics() *cobra.Command {
	var captions string
	var references []string
	var o score.Options
	var j judges
	var each bool
	c := &cobra.Command{Use: "metrics --hyp FILE --refs FILE", Short: "Score captions against people's", Args: cobra.NoArgs,
		Example: "  parley metrics --hyp results.json --refs captions_val2014.json\n" +
			"  parley metrics --hyp hyp.txt --refs ref1.txt --refs ref2.txt --json\n" +
			"  parley metrics --hyp results.json --refs captions_val2014.json \\\n" +
			"    --meteor-data venv/lib/python3.11/site-packages/pycocoevalcap/meteor\n" +
			"  parley metrics --hyp results.json --refs captions_val2014.json --sbert all-MiniLM-L6-v2 \\\n" +
			"    --vectors glove.6B.200d.txt --images val2014",
		Long: `BLEU, METEOR, ROUGE-L and CIDEr as the COCO caption tools compute them, without
Java. --hyp: COCO's results ([{"image_id", "caption"}]), the same a line each
(.jsonl), or plain lines. --refs: COCO's annotations, Karpathy's, NoCaps', a
.jsonl or .tsv; for plain lines as many files of lines as there are references.
Images without a caption are left out, and said so. JSON: {"images", "scores", "notes", "each"}.

--sbert adds the mean cosine of each caption with its references, --vectors their
mean word mover's distance, over unit vectors and without stop words, --images
CLIPScore and RefCLIPScore by --clip. A picture that cannot be read is told, the
others go on, and the exit code is 1.`}
	c.Flags().StringVar(&captions, "hyp", "", "captions to be scored")
	c.Flags().StringArrayVar(&references, "refs", nil, "references; may be repeated for plain lines")
	c.Flags().StringVar(&o.MeteorData, "meteor-data", "", "folder of METEOR's data: pycocoevalcap/meteor of PyPI's pycocoevalcap 1.2")
	c.Flags().BoolVar(&o.Tokenized, "tokenized", false, "captions are tokens with a space between two already")
	j.add(c)
	c.Flags().BoolVar(&each, "each", false, "with --json: the scores of each image as well")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case captions == "":
			return usage("--hyp FILE is needed: the captions to be scored")
		case len(references) == 0:
			return usage("--refs FILE is needed: the captions to hold them against")
		case each && !a.json:
			return usage("--each is for --json")
		}
		if err := j.check(references); err != nil {
			return err
		}
		items, left, err := score.Read(captions, references)
		if err != nil {
			return err
		}
		r, err := score.Captions(items, o)
		if err != nil {
			return err
		}
		failed, err := j.judge(a, cmd, r, items, references[0], o)
		if err != nil {
			return err
		}
		if left > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%d images of the references have no caption and are left out", left))
		}
		if a.json {
			err = a.print(r.JSON(each))
		} else {
			err = r.Table(a.out)
		}
		return errors.Join(err, failed)
	}
	return c
}

// judges are the flags of scores that need more than texts.
type judges struct {
	sbert, vectors, images string
	stopWords              bool
}

func (j *judges) add(c *cobra.Command) {
	j.addTexts(c)
	c.Flags().StringVar(&j.images, "images", "", "folder of the pictures that --refs names")
}

// addTexts are those that look at texts alone.
func (j *judges) addTexts(c *cobra.Command) {
	c.Flags().StringVar(&j.sbert, "sbert", "", "folder of all-MiniLM-L6-v2, or of another model of sentence-transformers")
	c.Flags().StringVar(&j.vectors, "vectors", "", "file of word vectors in word2vec's or GloVe's text format, or packed as .gz")
	c.Flags().BoolVar(&j.stopWords, "stop-words", false, "with --vectors: keep words such as \"the\" and \"of\"")
}

// check refuses what would have no effect.
func (j *judges) check(references []string) error {
	switch ext := strings.ToLower(filepath.Ext(references[0])); {
	case j.stopWords && j.vectors == "":
		return usage("--stop-words is for --vectors")
	case j.images != "" && ext != ".json" && ext != ".jsonl" && ext != ".tsv":
		return usage("--images: %s names no pictures: want references in a .json, .jsonl or .tsv", references[0])
	}
	return nil
}

// judge puts what the flags ask for in the report. failed says how many pictures could
// not be read; each has been told.
func (j *judges) judge(a *app, cmd *cobra.Command, r *score.Report, items []score.Item, dataset string,
	own score.Options) (failed, err error) {
	o := judge.Options{Vectors: j.vectors, StopWords: j.stopWords, Dataset: dataset, Images: j.images, Score: own}
	if j.sbert != "" {
		m, err := openedAt(a, "--sbert", j.sbert, models.OpenSBERT)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		o.SBERT = m
	}
	if j.images != "" {
		m, err := a.openCLIP()
		if err != nil {
			return nil, err
		}
		defer m.Close()
		o.CLIP = m.Judge(models.EmbedOptions{})
		if _, path := a.named("clip", a.clip); path == "" {
			r.Notes = append(r.Notes, "CLIPScore is the miniature CLIP's, which knows the miniature world alone: --clip names another")
		}
	}
	bad, err := judge.Add(a.run(cmd), r, items, o)
	if err != nil {
		return nil, err
	}
	told := failures{a: a, what: "pictures", seen: len(items)}
	for _, err := range bad {
		told.tell(err)
	}
	return told.err(), nil
}
