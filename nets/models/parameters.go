package models

import (
	"parley/nets/pixels/parameters"
	"parley/nets/schedule"
)

// Parameters are how drawings with options are made, as their PNGs tell it; prompt, seed
// and precision are the caller's to add, and where an init image came from.
func (p *StableDiffusion) Parameters(o DrawOptions) (parameters.Drawing, error) {
	c, err := schedule.ParseConfig(p.Pipeline.Scheduler, o.Scheduler)
	if err != nil {
		return parameters.Drawing{}, err
	}
	if c.Karras {
		c.Kind += "-karras"
	}
	d := parameters.Drawing{NegativePrompt: o.Negative, Steps: o.Steps, Sampler: c.Kind, Scheduler: o.Scheduler, Guidance: o.Guidance,
		Width: o.Width, Height: o.Height, ClipSkip: o.ClipSkip, VAETiling: string(o.Tiling), Program: "parley"}
	if o.Chunks {
		d.LongPrompt = "chunks"
	}
	if o.Init != nil {
		d.Strength = o.Strength
	}
	return d, nil
}
