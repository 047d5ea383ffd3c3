// Command mini runs the image reconstruction over the held-out scenes of the
// miniature world, and says what the choice is worth: CIDEr-D of the selected
// captions, of each rank, of all, and of CLIP's direct choice by picture and
// text.
//
//	go run ./bench/mini -n 200 -k 8 -steps 10
//
// With -as-python the captions are those that weights/mini/train/evaluate.py
// drew (testdata/captions.json), and the drawings begin with its noise: what it
// prints for the same models is to be met.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"

	"parley/bench/score"
	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

func main() {
	b := bench{}
	flag.IntVar(&b.n, "n", 200, "scenes")
	flag.IntVar(&b.k, "k", 8, "captions of each")
	flag.IntVar(&b.steps, "steps", 10, "denoising steps")
	flag.IntVar(&b.each, "drawings", 1, "of each caption; the closest one counts")
	flag.BoolVar(&b.redraw, "redraw-duplicates", true,
		"draw a caption that comes twice twice, as the paper does: frequent captions then win more often")
	flag.Uint64Var(&b.seed, "seed", 1, "of all randomness")
	flag.StringVar(&b.precision, "precision", "f32", "of the CPU: exact, f32 or fast")
	python := flag.Bool("as-python", false, "the captions and the noise of evaluate.py")
	flag.Parse()
	if err := b.run(engine.NewRun(context.Background()), *python); err != nil {
		fmt.Fprintln(os.Stderr, "mini:", err)
		os.Exit(1)
	}
}

type bench struct {
	n, k, steps, each int
	redraw            bool
	seed              uint64
	precision         string

	scenes   []mini.Scene
	pictures []*pixels.Image
	cider    *score.CIDErD
	device   engine.Device
	sd       *models.StableDiffusion
	draw     models.DrawOptions
	clip     *models.CLIP
	loop     rerank.Loop
}

func (b *bench) open() (err error) {
	if b.scenes, err = mini.Test(); err != nil {
		return err
	}
	if b.n < 1 || b.n > len(b.scenes) {
		return fmt.Errorf("-n %d: want 1 to %d", b.n, len(b.scenes))
	}
	var refs [][]string
	for _, s := range b.scenes {
		refs = append(refs, s.Captions)
		m, err := pixels.Decode(bytes.NewReader(s.PNG))
		if err != nil {
			return err
		}
		b.pictures = append(b.pictures, m)
	}
	b.cider = score.NewCIDErD(refs)
	precision, err := host.ParsePrecision(b.precision)
	if err != nil {
		return err
	}
	b.device = host.NewWith(host.Options{Precision: precision})
	blip, err := models.OpenBLIP(models.Embedded("blip"), b.device)
	if err != nil {
		return err
	}
	if b.sd, err = models.OpenStableDiffusion(models.Embedded("sd"), b.device); err != nil {
		return err
	}
	b.draw = b.sd.Defaults
	b.draw.Steps = b.steps
	if b.clip, err = models.OpenCLIP(models.Embedded("clip"), b.device); err != nil {
		return err
	}
	b.loop = rerank.Loop{Captioner: blip.Captioner(models.Nucleus()), Painter: b.sd.Painter(b.draw),
		Judge: b.clip.Judge(models.EmbedOptions{}),
		K:     b.k, RedrawDuplicates: b.redraw, Drawings: b.each}
	return nil
}

// run prints what the choice is worth.
func (b *bench) run(run engine.Run, python bool) error {
	if err := b.open(); err != nil {
		return err
	}
	byRank, best, direct, done := make([]float64, b.k), 0.0, 0.0, 0
	count := func(texts []string) error {
		top := 0.0
		for rank, text := range texts {
			v := b.cider.Score(text, done)
			byRank[rank] += v
			top = max(top, v)
		}
		best += top
		choice, err := b.direct(run, done, texts)
		if err != nil {
			return err
		}
		direct += b.cider.Score(choice, done)
		if done++; done%20 == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d scenes\n", done, b.n)
		}
		return nil
	}
	rank := b.rank
	if python {
		rank = b.rankAsPython
	}
	if err := rank(run, count); err != nil {
		return err
	}
	n, mean := float64(b.n), 0.0
	fmt.Print("CIDEr-D by rank:")
	for _, v := range byRank {
		fmt.Printf(" %.3f", v/n)
		mean += v / n / float64(b.k)
	}
	selected := byRank[0] / n
	fmt.Printf("\nselected %.3f, mean of all %.3f (%+.1f %%), CLIP's direct choice %.3f, best of each %d %.3f\n",
		selected, mean, 100*(selected/mean-1), direct/n, b.k, best/n)
	return nil
}

// rank reconstructs the scenes and hands on the captions of each, from the best
// down.
func (b *bench) rank(run engine.Run, each func(texts []string) error) error {
	return b.loop.Run(run, func(yield func(rerank.Source, error) bool) {
		for i := range b.n {
			if !yield(rerank.Source{Name: b.scenes[i].File, Picture: b.pictures[i], Seed: b.seed + uint64(i*b.k*b.each)}, nil) {
				return
			}
		}
	}, func(r *rerank.Result, err error) error {
		if err != nil {
			return err
		}
		var texts []string
		for _, c := range r.Ranked() {
			texts = append(texts, c.Text)
		}
		return each(texts)
	})
}

// direct is the caption that CLIP takes for the likest to the picture itself.
func (b *bench) direct(run engine.Run, i int, texts []string) (string, error) {
	x, err := b.loop.Judge.EmbedImages(run, []pixels.Picture{b.pictures[i]})
	if err != nil {
		return "", err
	}
	scores, err := b.loop.Judge.ScoreTexts(run, x, texts)
	if err != nil {
		return "", err
	}
	return texts[slices.Index(scores, slices.Max(scores))], nil
}

//go:embed testdata/captions.json
var captions []byte

// rankAsPython ranks evaluate.py's captions by drawings that are drawn as it does,
// 40 from one generator.
func (b *bench) rankAsPython(run engine.Run, each func(texts []string) error) error {
	var all [][]string
	if err := json.Unmarshal(captions, &all); err != nil {
		return err
	}
	if b.k != len(all[0]) || b.n != len(all) {
		return fmt.Errorf("-as-python: -n %d -k %d, the captions are %d x %d", b.n, b.k, len(all), len(all[0]))
	}
	flat := slices.Concat(all...)
	score := make([]float64, len(flat))
	const together = 40
	for lo := 0; lo < len(flat); lo += together {
		drawn, err := b.sd.DrawTogether(run, flat[lo:min(lo+together, len(flat))], uint64(lo), b.draw)
		if err != nil {
			return err
		}
		for j, m := range drawn {
			source, err := b.loop.Judge.EmbedImages(run, []pixels.Picture{b.pictures[(lo+j)/b.k]})
			if err != nil {
				return err
			}
			scores, err := b.loop.Judge.ScoreImages(run, source, []pixels.Picture{m})
			if err != nil {
				return err
			}
			score[lo+j] = scores[0]
		}
		fmt.Fprintf(os.Stderr, "drew %d of %d\n", lo+len(drawn), len(flat))
	}
	for i := range b.n {
		order := make([]int, b.k)
		for j := range order {
			order[j] = i*b.k + j
		}
		slices.SortStableFunc(order, func(x, y int) int {
			if score[x] > score[y] {
				return -1
			}
			return 1
		})
		var texts []string
		for _, j := range order {
			texts = append(texts, flat[j])
		}
		if err := each(texts); err != nil {
			return err
		}
	}
	return nil
}
