package main

import (
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"parley/output"
)

// man writes the manual pages, for who packs the program.
func (a *app) man() *cobra.Command {
	return &cobra.Command{Use: "man DIR", Short: "Write the manual pages", Args: cobra.ExactArgs(1), Hidden: true,
		Long: "Writes a manual page for each command to a folder: parley.1, parley-draw.1 and so on.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.MakeFolder(args[0]); err != nil {
				return err
			}
			cmd.Root().DisableAutoGenTag = true
			return manTree(cmd.Root(), args[0])
		}}
}

// manTree writes the page of a command and of those below it.
func manTree(c *cobra.Command, dir string) error {
	if !c.IsAvailableCommand() && c.HasParent() || c.IsAdditionalHelpTopicCommand() {
		return nil
	}
	for _, sub := range c.Commands() {
		if err := manTree(sub, dir); err != nil {
			return err
		}
	}
	// The same program gives the same page, whatever the day is.
	day := time.Unix(0, 0).UTC()
	header := &doc.GenManHeader{Title: "PARLEY", Section: "1", Date: &day, Source: "parley", Manual: "Parley"}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
	return output.Write(filepath.Join(dir, name), output.Options{}, func(w io.Writer) error { return doc.GenMan(c, header, w) })
}
