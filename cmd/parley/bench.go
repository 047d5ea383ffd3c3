package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/bench/layers"
	"parley/bench/layers/export"
	"parley/bench/workload"
)

func (a *app) bench() *cobra.Command {
	var w workload.Options
	var batches string
	o := layers.Options{Warmup: 200 * time.Millisecond, Command: "parley " + strings.Join(os.Args[1:], " ")}
	var show export.Options
	c := &cobra.Command{Use: "bench NET", Short: "Say which layer takes the time, and how far it is from what the machine could do",
		Args: cobra.ExactArgs(1),
		Example: "  parley bench unet --preset sd15 --batch 1,4\n  parley bench clip-image --device cuda --depth 3\n" +
			"  parley bench loop --preset mini --batch 10 --json",
		Long: "NET is one of " + strings.Join(workload.Nets(), ", ") + "."}
	f := c.Flags()
	f.StringVar(&w.Preset, "preset", "", "configuration of random weights, or several by commas: sd15, sd21, sd21v, blip-base, blip-large, "+
		"clip-b32, clip-l14, clip-h14, mini, small (the usual one of the net)")
	f.StringVar(&w.Weights, "weights", workload.Random, "random, or a checkpoint's folder or file; of a loop, a folder with sd, blip and clip")
	f.StringVar(&batches, "batch", "1", "samples of a pass, several by commas; of blip-generate and loop, captions of one picture")
	f.IntVar(&w.Size, "size", 0, "side of the pictures (the model's)")
	f.IntVar(&w.Steps, "steps", 4, "of denoising, by pipeline and loop; what 50 would take is projected")
	f.IntVar(&w.Tokens, "tokens", 20, "of a caption, by blip-generate and loop")
	f.IntVar(&o.Rounds, "rounds", 5, "that are timed, each with and without a recorder")
	f.IntVar(&show.Depth, "depth", 0, "names of a path below which layers are joined (0: none)")
	f.StringVar(&show.Sort, "sort", layers.ByTime, "time; roof: what has the most to win first; order: as it runs")
	f.IntVar(&show.Top, "top", 40, "rows of the table at most (0: all)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		w.Net = args[0]
		if !cmd.Flags().Changed("steps") && w.Net != "pipeline" && w.Net != "loop" {
			w.Steps = 0
		}
		if !cmd.Flags().Changed("tokens") && w.Net != "blip-generate" && w.Net != "loop" {
			w.Tokens = 0
		}
		var sizes []int
		for b := range strings.SplitSeq(batches, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(b))
			if err != nil || n < 1 || n > mostBatch {
				return usage("--batch %s: want numbers from 1 to %d by commas", batches, mostBatch)
			}
			sizes = append(sizes, n)
		}
		dev, err := a.open()
		if err != nil {
			return err
		}
		set, err := workload.Open(w, dev)
		if err != nil {
			return err
		}
		defer set.Close()
		var works []*workload.Work
		for _, n := range sizes {
			works = append(works, set.Of(n))
		}
		results, err := layers.Measure(cmd.Context(), dev, works, o)
		if err != nil {
			return err
		}
		if a.json {
			if len(results) == 1 {
				return a.print(results[0])
			}
			return a.print(results)
		}
		return export.Table(a.out, results, show)
	}
	return c
}

// mostBatch is how many samples a pass may have.
const mostBatch = 1024
