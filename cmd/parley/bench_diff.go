package main

import (
	"github.com/spf13/cobra"

	"parley/bench/compare"
	"parley/bench/layers"
)

func (a *app) benchDiff() *cobra.Command {
	o := compare.Options{Least: leastChange}
	var least, failOver, before, after string
	var turns int
	var all bool
	c := &cobra.Command{Use: "diff A.json B.json", Short: "Say which layers have changed by more than noise", Args: cobra.ArbitraryArgs,
		Example: "  parley bench diff before.json after.json\n  parley bench diff --old ./parley-before --new bin/parley -- unet --preset mini",
		Long: `Medians over the rounds are compared, and whether they differ is tested with
Mann and Whitney's test, corrected for the number of layers (Holm): in 19 of 20
comparisons of equals nothing is said. Files are of parley bench --json.

With --old and --new two programs take turns on the workload behind --, so that
what slows the machine for a while, and what one start of a process has by chance,
meets both.`}
	f := c.Flags()
	f.IntVar(&o.Depth, "depth", 0, "names of a path; layers below are joined (0: each is compared)")
	f.StringVar(&least, "least", "2%", "change of a median that is told")
	f.BoolVar(&all, "all", false, "print what has not changed, too")
	f.StringVar(&failOver, "fail-over", "", "fail where the whole or a layer is slower by more than this, as 10%")
	f.StringVar(&before, "old", "", "program whose times come before")
	f.StringVar(&after, "new", "", "program whose times come after")
	f.IntVar(&turns, "turns", 5, "with --old and --new: starts of each program")
	width := addWidth(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if o.Least, err = percent("--least", least); err != nil {
			return err
		}
		share, err := percent("--fail-over", failOver)
		if err != nil {
			return err
		}
		var a0, b0 []*layers.Result
		switch {
		case (before == "") != (after == ""):
			return usage("--old and --new go together")
		case before != "":
			if len(args) == 0 {
				return usage("bench diff --old --new: name a workload behind --")
			}
			if a0, b0, err = compare.TakeTurns(cmd.Context(), before, after, args, turns, a.errs); err != nil {
				return err
			}
		case len(args) != 2:
			return usage("bench diff: want two files, before and after")
		default:
			if a0, err = compare.Read(args[0]); err != nil {
				return err
			}
			if b0, err = compare.Read(args[1]); err != nil {
				return err
			}
		}
		diffs, err := compare.Compare(a0, b0, o)
		if err != nil {
			return err
		}
		if a.json {
			err = a.print(diffs)
		} else {
			err = compare.Table(a.out, diffs, all, a.columns(*width))
		}
		if err == nil && failOver != "" {
			err = compare.Regressions(diffs, share)
		}
		return err
	}
	return c
}
