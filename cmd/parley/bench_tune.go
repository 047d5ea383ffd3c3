package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"parley/bench/tuning"
	"parley/engine/host"
	"parley/output"
)

// tuneFlags are what methods are measured for.
type tuneFlags struct {
	preset string
	size   int
	rounds int
}

func (f *tuneFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.preset, "preset", "", "configurations by commas, of which each net takes what it has (each net's usual one)")
	c.Flags().IntVar(&f.size, "size", 0, "side of the pictures (the model's)")
	c.Flags().IntVar(&f.rounds, "rounds", 7, "of each method, by turns")
}

// tunedNets are those that are measured where none is named.
func tunedNets() []string { return []string{"unet", "vae-decode", "clip-image", "blip-vision"} }

// measure times the methods of the nets' operations on the CPU, without choices.
func (f *tuneFlags) measure(a *app, cmd *cobra.Command, nets []string) (tuning.Machine, []tuning.Found, error) {
	var none tuning.Machine
	if len(nets) == 0 {
		nets = tunedNets()
	}
	if a.device != "auto" && a.device != "cpu" {
		return none, nil, usage("--device %s: methods are chosen on the CPU; `bench/gpu/run --only tune` measures a GPU's", a.device)
	}
	if a.tuning != "" {
		return none, nil, usage("--tuning: what is measured takes no choices")
	}
	precision := host.F32
	if a.precision != "" {
		var err error
		if precision, err = host.ParsePrecision(a.precision); err != nil {
			return none, nil, err
		}
	}
	works, err := tuning.Works(nets, f.preset, f.size)
	if err != nil {
		return none, nil, err
	}
	shapes, err := tuning.Collect(cmd.Context(), works)
	if err != nil {
		return none, nil, err
	}
	if f.rounds == 0 {
		return none, nil, usage("--rounds 0: want 1 at least")
	}
	found, err := tuning.Measure(cmd.Context(), shapes, tuning.Options{Workers: a.threads, Precision: precision, Rounds: f.rounds,
		Least: 0.05})
	return tuning.MachineOf(host.NewWith(host.Options{Workers: a.threads, Precision: precision})), found, err
}

func (a *app) benchKernels() *cobra.Command {
	var f tuneFlags
	c := &cobra.Command{Use: "kernels [NET]...", Short: "Time every method that the nets' operations could take on the CPU",
		Args:    cobra.ArbitraryArgs,
		Example: "  parley bench kernels unet --preset mini",
		Long: `Products by the sizes of their blocks, convolutions by the plain sum and by minimal
filtering, at the shapes that the nets' operations leave in their records. The winner
is what the CPU takes by itself, unless another is faster by 5 %.`}
	f.add(c)
	width := addWidth(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		_, found, err := f.measure(a, cmd, args)
		if err != nil {
			return err
		}
		if a.json {
			return a.print(found)
		}
		return tuning.Write(a.out, found, a.columns(*width))
	}
	return c
}

func (a *app) benchTune() *cobra.Command {
	var f tuneFlags
	var out string
	var force bool
	c := &cobra.Command{Use: "tune [NET]...", Short: "Write the fastest methods of this machine to a file for --tuning",
		Args:    cobra.ArbitraryArgs,
		Example: "  parley bench tune --out tuning.json\n  parley draw --tuning tuning.json \"a cat\""}
	f.add(c)
	c.Flags().StringVar(&out, "out", "", "the file (standard output)")
	c.Flags().BoolVar(&force, "force", false, "write over a file of --out that is no JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		to := output.Options{Kind: output.JSON, Force: force}
		if out != "" {
			if err := errors.Join(output.Sweep(filepath.Dir(out)), output.Check(out, to)); err != nil {
				return fmt.Errorf("--out: %w", err)
			}
		}
		machine, found, err := f.measure(a, cmd, args)
		if err != nil {
			return err
		}
		table := tuning.Choose(machine, found)
		if out == "" {
			return a.print(table)
		}
		data, err := json.MarshalIndent(table, "", "  ")
		if err != nil {
			return err
		}
		if err := output.WriteFile(out, append(data, '\n'), to); err != nil {
			return err
		}
		fmt.Fprintf(a.errs, "parley: %d of %d operations have another method than the CPU's own\n", len(table.Choices), len(found))
		return nil
	}
	return c
}
