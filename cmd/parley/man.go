package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// man writes the manual pages, for who packs the program.
func (a *app) man() *cobra.Command {
	return &cobra.Command{Use: "man DIR", Short: "Write the manual pages", Args: cobra.ExactArgs(1), Hidden: true,
		Long: "Writes a manual page for each command to a folder: parley.1, parley-draw.1 and so on.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o777); err != nil {
				return err
			}
			cmd.Root().DisableAutoGenTag = true
			// The same program gives the same pages, whatever the day is.
			day := time.Unix(0, 0).UTC()
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Title: "PARLEY", Section: "1", Date: &day, Source: "parley", Manual: "Parley"}, args[0])
		}}
}
