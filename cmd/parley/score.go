package main

import (
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
		Long:    "The cosine of each picture with each text. JSON: {\"files\", \"texts\", \"scores\": [[…]]}, a row for each file."}
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
		if err != nil {
			return err
		}
		texts, err := j.EmbedTexts(a.run(cmd), lines, models.EmbedOptions{})
		if err != nil {
			return err
		}
		scores := models.Cosines(images, texts)
		if a.json {
			return a.print(map[string]any{"files": files, "texts": lines, "scores": scores})
		}
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		for _, l := range lines {
			fmt.Fprint(w, "\t"+terminal.Plain(l))
		}
		fmt.Fprintln(w)
		for i, f := range files {
			fmt.Fprint(w, terminal.Plain(f))
			for _, v := range scores[i] {
				fmt.Fprintf(w, "\t%.3f", v)
			}
			fmt.Fprintln(w)
		}
		return w.Flush()
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
