package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"parley/bench/history"
	"parley/output"
)

func (a *app) benchHistory() *cobra.Command {
	var page, least string
	var depth int
	var force bool
	c := &cobra.Command{Use: "history FILE|FOLDER...", Short: "Draw earlier results over their commits", Args: cobra.MinimumNArgs(1),
		Example: "  parley bench history bench/results/cpu --html history.html",
		Long: `Files are of parley bench --json, or such compressed by gzip; of a folder those whose names
end in .json and .json.gz. Each workload of each machine is a line, and each commit says
what has changed since the one before by more than noise.`}
	c.Flags().StringVar(&page, "html", "", "the page (standard output)")
	c.Flags().IntVar(&depth, "depth", 2, "names of a path; layers below are joined (0: each is compared)")
	c.Flags().StringVar(&least, "least", "2%", "change of a median that is told")
	c.Flags().BoolVar(&force, "force", false, "write over a file of --html that is no HTML")
	c.RunE = func(_ *cobra.Command, args []string) error {
		share, err := percent("--least", least)
		if err != nil {
			return err
		}
		to := output.Options{Kind: htmlKind(), Force: force}
		if page != "" {
			if err := errors.Join(output.Sweep(filepath.Dir(page)), output.Check(page, to)); err != nil {
				return usageError{fmt.Errorf("--html: %w", err)}
			}
		}
		all, err := history.Read(args)
		if err != nil {
			return err
		}
		if page == "" {
			return history.HTML(a.out, all, depth, share)
		}
		if err := output.Write(page, to, func(w io.Writer) error { return history.HTML(w, all, depth, share) }); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		return nil
	}
	return c
}
