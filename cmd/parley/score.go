package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"parley/cmd/parley/terminal"
	"parley/nets/models"
	"parley/nets/pixels"
)

func (a *app) score() *cobra.Command {
	var lines []string
	c := &cobra.Command{Use: "score FILE… --text TEXT…", Short: "Hold pictures against texts with CLIP", Args: cobra.MinimumNArgs(1),
		Example: "  parley score cat.jpg dog.jpg --text \"a cat\" --text \"a dog\"",
		Long:    "The cosine of each picture with each text. JSON: {\"files\", \"texts\", \"scores\": [[…]]}, a row for each file; one that is not a finite number is null, and \"error\" says why."}
	c.Flags().StringArrayVarP(&lines, "text", "t", nil, "text; may be repeated")
	c.RunE = func(cmd *cobra.Command, files []string) error {
		files, lines := apart(files, lines)
		if len(lines) == 0 || len(files) == 0 {
			return usage("score: name picture files, and texts with --text")
		}
		j, err := a.openCLIP()
		if err != nil {
			return err
		}
		defer j.Close()
		pictures, err := read(files)
		if err != nil {
			return err
		}
		images, err := j.EmbedImages(a.run(cmd), pictures, models.EmbedOptions{})
		badFiles, err := items(err)
		if err != nil {
			return err
		}
		texts, err := j.EmbedTexts(a.run(cmd), lines, models.EmbedOptions{})
		badTexts, err := items(err)
		if err != nil {
			return err
		}
		var failed error
		for i, f := range files {
			if badFiles[i] != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", f, badFiles[i]))
			}
		}
		for i, t := range lines {
			if badTexts[i] != nil {
				failed = errors.Join(failed, fmt.Errorf("%q: %w", t, badTexts[i]))
			}
		}
		scores := make([][]*float64, len(files)) // nil: there is none
		for i, row := range models.Cosines(images, texts) {
			scores[i] = make([]*float64, len(row))
			for j := range row {
				if badFiles[i] == nil && badTexts[j] == nil {
					scores[i][j] = &row[j]
				}
			}
		}
		if a.json {
			v := map[string]any{"files": files, "texts": lines, "scores": scores}
			if failed != nil {
				v["error"] = failed.Error()
			}
			return errors.Join(a.print(v), failed)
		}
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		for _, l := range lines {
			fmt.Fprint(w, "\t"+terminal.Plain(l))
		}
		fmt.Fprintln(w)
		for i, f := range files {
			fmt.Fprint(w, terminal.Plain(f))
			for _, v := range scores[i] {
				if v == nil {
					fmt.Fprint(w, "\t-")
					continue
				}
				fmt.Fprintf(w, "\t%.3f", *v)
			}
			fmt.Fprintln(w)
		}
		return errors.Join(w.Flush(), failed)
	}
	return c
}

// read reads every file.
func read(files []string) ([]pixels.Picture, error) {
	var out []pixels.Picture
	for _, f := range files {
		m, err := pixels.Read(f)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}
