// Command mini runs the image reconstruction over the held-out scenes of the
// miniature world, and says what the choice is worth: CIDEr-D of the selected
// captions, of each rank, of all, and of CLIP's direct choice by picture and
// text.
//
//	go run ./bench/mini -n 200 -k 8 -steps 10
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"

	"parley/bench/score"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

func main() {
	n := flag.Int("n", 200, "scenes")
	k := flag.Int("k", 8, "captions of each")
	steps := flag.Int("steps", 10, "denoising steps")
	twins := flag.Bool("draw-twins", true, "draw a caption that comes twice twice, as the paper does: frequent captions then win more often")
	each := flag.Int("drawings", 1, "of each caption; the closest one counts")
	seed := flag.Uint64("seed", 1, "of all chance")
	flag.Parse()
	if err := run(context.Background(), *n, *k, *steps, *each, *seed, *twins); err != nil {
		fmt.Fprintln(os.Stderr, "mini:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n, k, steps, each int, seed uint64, twins bool) error {
	scenes, err := mini.Test()
	if err != nil {
		return err
	}
	if n < 1 || n > len(scenes) {
		return fmt.Errorf("-n %d: want 1 to %d", n, len(scenes))
	}
	var refs [][]string
	for _, s := range scenes {
		refs = append(refs, s.Captions)
	}
	cider := score.NewCIDErD(refs)
	dev := host.NewWith(host.Options{Precision: host.F32})
	c, err := models.OpenCaptioner(models.Embedded("blip"), dev)
	if err != nil {
		return err
	}
	p, err := models.OpenPainter(models.Embedded("sd"), dev)
	if err != nil {
		return err
	}
	p.Steps = steps
	j, err := models.OpenJudge(models.Embedded("clip"), dev)
	if err != nil {
		return err
	}
	byRank, best, direct := make([]float64, k), 0.0, 0.0
	for i, s := range scenes[:n] {
		m, err := pixels.Decode(bytes.NewReader(s.PNG))
		if err != nil {
			return err
		}
		l := rerank.Loop{Captioner: c, Painter: p, Judge: j, Seed: seed + uint64(i*k*each), DrawTwins: twins, Drawings: each}
		r, err := l.Image(ctx, s.File, m, k)
		if err != nil {
			return err
		}
		var texts []string
		top := 0.0
		for rank, c := range r.Ranked() {
			v := cider.Score(c.Text, i)
			byRank[rank] += v
			top = max(top, v)
			texts = append(texts, c.Text)
		}
		best += top
		im, err := j.Images(ctx, []*pixels.Image{m})
		if err != nil {
			return err
		}
		tx, err := j.Texts(ctx, texts)
		if err != nil {
			return err
		}
		x, y := im.Data().([]float32), tx.Data().([]float32)
		at, high := 0, -2.0
		for t := range texts {
			dot := 0.0
			for d, v := range x {
				dot += float64(v) * float64(y[t*len(x)+d])
			}
			if dot > high {
				at, high = t, dot
			}
		}
		direct += cider.Score(texts[at], i)
		if (i+1)%20 == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d scenes\n", i+1, n)
		}
	}
	mean := 0.0
	fmt.Print("CIDEr-D by rank:")
	for _, v := range byRank {
		fmt.Printf(" %.3f", v/float64(n))
		mean += v / float64(n*k)
	}
	selected := byRank[0] / float64(n)
	fmt.Printf("\nselected %.3f, mean of all %.3f (%+.1f %%), CLIP's direct choice %.3f, best of each %d %.3f\n",
		selected, mean, 100*(selected/mean-1), direct/float64(n), k, best/float64(n))
	return nil
}
