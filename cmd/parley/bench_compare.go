package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"parley/bench/compare"
)

func (a *app) benchCompare() *cobra.Command {
	c := &cobra.Command{Use: "compare OURS.json THEIRS", Short: "Lay layers beside those of another program's profile",
		Args:    cobra.ExactArgs(2),
		Example: "  parley bench compare unet.json torch-trace.json.gz",
		Long: `OURS is of parley bench --json. THEIRS is a trace of PyTorch's profiler whose modules
are annotated with their names, a profile of ONNX Runtime, or vLLM's layerwise JSON.
Modules are matched by Hugging Face's names; where the names below one differ, what is
left of it stands in one line on both sides. bench/compare/testdata/traces.py shows how
such files are made.`}
	width := addWidth(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		ours, err := compare.Read(args[0])
		if err != nil {
			return err
		}
		if len(ours) != 1 {
			return fmt.Errorf("%s: %d workloads, want one", args[0], len(ours))
		}
		theirs, err := compare.ReadProfile(args[1])
		if err != nil {
			return err
		}
		rows := compare.Beside(ours[0], theirs)
		if a.json {
			return a.print(rows)
		}
		return compare.BesideTable(a.out, ours[0], theirs, rows, a.columns(*width))
	}
	return c
}
