package main

import (
	"github.com/spf13/cobra"

	"parley/bench/machine"
)

func (a *app) doctor() *cobra.Command {
	c := &cobra.Command{Use: "doctor", Short: "Say what this machine offers", Args: cobra.NoArgs,
		Example: "  parley doctor\n  parley doctor --json"}
	c.RunE = func(*cobra.Command, []string) error {
		if err := a.instructions(); err != nil {
			return err
		}
		type model struct {
			Name string `json:"name"`
			Note string `json:"note"`
		}
		report := struct {
			machine.Report
			Models []model `json:"models"`
		}{Report: machine.Look(a.threads)}
		var lines [][2]string
		for _, name := range []string{"blip", "sd", "clip"} {
			m := model{name, "embedded, miniature"}
			own := map[string]string{"blip": a.blip, "sd": a.sd, "clip": a.clip}[name]
			if src, err := a.source(name, own); err != nil {
				m.Note = err.Error()
			} else if !src.IsEmbedded() {
				m.Note = src.String()
			}
			report.Models = append(report.Models, m)
			lines = append(lines, [2]string{m.Name, m.Note})
		}
		if a.json {
			return a.print(report)
		}
		return report.Table(a.out, lines...)
	}
	return c
}
