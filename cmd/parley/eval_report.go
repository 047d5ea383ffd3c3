package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"parley/bench/eval/report"
	"parley/nets/models"
)

// reportJudges are the flags of what scores candidates when a report is written.
type reportJudges struct {
	judges
	dino, inception string
}

func (j *reportJudges) add(c *cobra.Command) {
	j.addTexts(c)
	c.Flags().StringVar(&j.dino, "dino", "", "of drawings that were kept: folder or file of DINO, such as ViT-B/8")
	c.Flags().StringVar(&j.inception, "inception", "", "of drawings that were kept: weights of FID's Inception v3, "+
		"pytorch-fid's pt_inception-2015-12-05-6726825d.pth")
}

// open opens those that are named; nil: none is.
func (j *reportJudges) open(a *app) (_ *report.Judges, done func(), err error) {
	var closers []func()
	done = func() {
		for _, c := range closers {
			c()
		}
	}
	if j.stopWords && j.vectors == "" {
		return nil, done, usage("--stop-words is for --vectors")
	}
	if j.sbert+j.vectors+j.dino+j.inception == "" {
		return nil, done, nil
	}
	out := &report.Judges{Vectors: j.vectors, StopWords: j.stopWords}
	if j.sbert != "" {
		m, err := openedAt(a, "--sbert", j.sbert, models.OpenSBERT)
		if err != nil {
			return nil, done, err
		}
		closers, out.SBERT = append(closers, m.Close), m
	}
	if j.dino != "" {
		m, err := openedAt(a, "--dino", j.dino, models.OpenDINO)
		if err != nil {
			return nil, done, err
		}
		closers, out.DINO = append(closers, m.Close), m
	}
	if j.inception != "" {
		m, err := openedAt(a, "--inception", j.inception, models.OpenInception)
		if err != nil {
			return nil, done, err
		}
		closers, out.Inception = append(closers, m.Close), m
	}
	return out, done, nil
}

func (a *app) evalReport() *cobra.Command {
	var o report.Options
	var j reportJudges
	var follow bool
	c := &cobra.Command{Use: "report DIR", Short: "Write the paper's table and figures of a run", Args: cobra.ExactArgs(1),
		Example: "  parley eval report runs/mini\n  parley eval report --follow runs/mini\n" +
			"  parley eval report runs/captions --sbert all-MiniLM-L6-v2 --vectors glove.6B.200d.txt --meteor-data pycocoevalcap/meteor\n" +
			"  parley eval report runs/drawings --dino dino-vitb8 --inception pt_inception-2015-12-05-6726825d.pth",
		Long: `Writes DIR/report, or --out: index.html, which needs nothing else, report.md, report.json, and
each figure as SVG and PNG. It can be written while the run goes on, of the items that
are done and have a result. NoCaps' domains have rows of their own.

Captions are judged by --meteor-data, --sbert (the mean cosine with the references) and
--vectors (the mean word mover's distance). Drawings of texts are judged by --dino (the
cosine with the true picture) and --inception (FID between the true pictures and the
selected drawings, and of each rank) where the run has kept them, eval text --keep png;
--inception takes some 70 MB for each of the K candidates.`}
	c.Flags().StringVarP(&o.Out, "out", "o", "", "folder of the report: new, empty or an earlier report's (DIR/report)")
	c.Flags().StringVar(&o.MeteorData, "meteor-data", "", "folder of METEOR's data: pycocoevalcap/meteor of PyPI's pycocoevalcap 1.2")
	j.add(c)
	c.Flags().BoolVar(&follow, "follow", false, "write it again each half minute until the run is complete; the page loads itself again")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		const pause = 30 * time.Second
		judges, done, err := j.open(a)
		defer done()
		if err != nil {
			return err
		}
		o.Judges, o.Run = judges, a.run(cmd)
		write := func() (*report.Result, error) { return report.Write(args[0], o) }
		if follow {
			o.Refresh = pause
			write = func() (*report.Result, error) {
				return report.Follow(args[0], o, func() error {
					select {
					case <-time.After(pause):
					case <-cmd.Context().Done():
					}
					return cmd.Context().Err()
				}, func(r *report.Result) { fmt.Fprintf(a.errs, "parley: %d of %d items in %s\n", r.Done, r.Total, r.Out) })
			}
		}
		r, err := write()
		if err != nil {
			return err
		}
		if a.json {
			return a.print(struct {
				Out          string               `json:"out"`
				Done         int                  `json:"done"`
				Total        int                  `json:"total"`
				Failed       int                  `json:"failed"`
				Table        []report.Row         `json:"table"`
				Domains      []report.Domain      `json:"domains,omitempty"`
				Correlations []report.Correlation `json:"correlations"`
				Notes        []string             `json:"notes"`
			}{r.Out, r.Done, r.Total, r.Failed, r.Table, r.Domains, r.Correlations, r.Notes})
		}
		return r.Print(a.out)
	}
	return c
}
