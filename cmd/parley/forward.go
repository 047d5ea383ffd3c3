package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/engine/device"
	"parley/nets/diffusion"
	"parley/nets/forward"
	"parley/nets/models"
	"parley/output"
	"parley/weights"
	"parley/weights/safetensors"
)

func (a *app) forward() *cobra.Command {
	var model, in, out, taps string
	var draw drawFlags
	var o forward.Options
	var repeat int
	var force bool
	c := &cobra.Command{Use: "forward NET", Short: "Run one net on tensors, to hold it against a reference", Args: cobra.ExactArgs(1),
		Example: "  parley forward unet --model sd15/unet --in in.safetensors --out out.safetensors --taps 'down_blocks\\.0'\n  parley " +
			"forward pipeline --model sd15 --in ids.safetensors --out out.safetensors --seed 7 --scheduler ddim",
		Long: `Inputs and outputs have Hugging Face's names; pictures are [N, C, H, W].

  clip-image     pixel_values → image_embeds, pooler_output, last_hidden_state
  clip-text      input_ids → text_embeds, pooler_output, last_hidden_state
  blip-vision    pixel_values → last_hidden_state
  blip-text      input_ids, encoder_hidden_states → logits
  blip-generate  pixel_values, input_ids (the prompt's, without sep; one or more rows a picture) → sequences
  bert           input_ids, all of one length → last_hidden_state
  vit            pixel_values → last_hidden_state
  inception      pixel_values (-1..1) → features
  unet           sample, timestep, encoder_hidden_states, timestep_cond (of a net with time_cond_proj_dim) → sample
  vae-decode     latents → sample
  vae-encode     sample → latent_mean
  pipeline       input_ids, negative_ids → latents, image (0..1)

--taps adds the output of every inner module whose path matches, as "tap.PATH".
JSON: the outputs' names and shapes, the seconds of loading and of each run.`}
	f := c.Flags()
	f.StringVar(&model, "model", "", "the checkpoint: a folder or file")
	f.StringVar(&in, "in", "", "safetensors file of the inputs")
	f.StringVar(&out, "out", "", "safetensors file for the outputs (none is written)")
	f.BoolVar(&force, "force", false, "write over a file of --out that is no safetensors file")
	f.StringVar(&taps, "taps", "", "regular expression of inner paths")
	g := &o.Generate
	f.IntVar(&g.Beams, "beam", 1, "blip-generate: beams; 1 is greedy")
	f.BoolVar(&g.Sample, "sample", false, "blip-generate: sample")
	f.Float64Var(&g.TopP, "top-p", 0, "blip-generate, with --sample: the likeliest ids with this probability (all)")
	f.Float64Var(&g.RepetitionPenalty, "repetition-penalty", 1, "blip-generate")
	f.Float64Var(&g.LengthPenalty, "length-penalty", 1, "blip-generate, with --beam")
	f.BoolVar(&g.EarlyStopping, "early-stopping", false, "blip-generate, with --beam")
	f.IntVar(&g.MaxLength, "max-length", 20, "blip-generate: ids, the prompt's included")
	f.IntVar(&g.MinLength, "min-length", 0, "blip-generate: likewise")
	var first seed
	addSeed(f, &first, "blip-generate, with --sample; pipeline: as torch.Generator(\"cpu\")'s")
	f.IntVar(&repeat, "repeat", 1, "run so many times and tell the seconds of each")
	draw.add(c)
	a.addPrediction(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := untaken(cmd, "--model", "models", "blip", "sd", "clip"); err != nil {
			return err
		}
		if model == "" || in == "" {
			return usage("forward: --model and --in are needed")
		}
		if !strings.Contains(" "+strings.Join(forward.Nets(), " ")+" ", " "+args[0]+" ") {
			return usage("forward %s: choose one of %s", args[0], strings.Join(forward.Nets(), ", "))
		}
		if taps != "" {
			r, err := regexp.Compile(taps)
			if err != nil {
				return usage("--taps: %w", err)
			}
			o.Taps = r
		}
		to := output.Options{Kind: output.Safetensors, Force: force, Sync: true}
		if out != "" {
			if err := errors.Join(output.Sweep(filepath.Dir(out)), output.Check(out, to)); err != nil {
				return fmt.Errorf("--out: %w", err)
			}
		}
		dev, err := a.openWith(device.Options{Exact: true}) // it is held against a reference
		if err != nil {
			return err
		}
		src, err := a.at("--model", model)
		if err != nil {
			return err
		}
		set, err := weights.Open(in)
		if err != nil {
			return fmt.Errorf("--in: %w", err)
		}
		defer set.Close()
		tensors, err := forward.ReadTensors(set)
		if err != nil {
			return fmt.Errorf("--in: %w", err)
		}
		o.Draw = draw.options(a, cmd, models.DrawOptions{Options: diffusion.Options{Steps: 50, Guidance: 7.5}}).Options
		o.Seed, g.Seed = first.value, first.value
		g.NoLengthPenalty = g.LengthPenalty == 0
		began := time.Now()
		net, err := forward.Open(args[0], src, dev)
		if err != nil {
			return err
		}
		defer net.Close()
		loading := time.Since(began).Seconds()
		var results forward.Tensors
		var seconds []float64
		for range repeat {
			began := time.Now()
			if results, err = net.Run(a.run(cmd), tensors, o); err != nil {
				return err
			}
			seconds = append(seconds, time.Since(began).Seconds())
		}
		list := forward.List(results)
		if out != "" {
			if err := output.Write(out, to, func(w io.Writer) error {
				return safetensors.Write(w, list, map[string]string{"format": "pt"})
			}); err != nil {
				return err
			}
		}
		if a.json {
			type entry struct {
				Name  string `json:"name"`
				Shape []int  `json:"shape"`
			}
			all := []entry{}
			for _, t := range list {
				all = append(all, entry{t.Name, t.Shape})
			}
			return a.print(struct {
				Outputs []entry   `json:"outputs"`
				Loading float64   `json:"loading_s"`
				Seconds []float64 `json:"seconds"`
			}{all, loading, seconds})
		}
		for _, t := range list {
			fmt.Fprintln(a.out, t.Name, t.Shape)
		}
		if repeat > 1 {
			fmt.Fprintf(a.out, "loading %.3f s; runs", loading)
			for _, s := range seconds {
				fmt.Fprintf(a.out, " %.3f", s)
			}
			fmt.Fprintln(a.out, " s")
		}
		return nil
	}
	return c
}
