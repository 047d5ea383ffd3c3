// Package blip is BLIP as a captioner (arXiv 2201.12086; transformers'
// BlipForConditionalGeneration): a vision transformer and a text decoder with
// attention to the picture.
package blip

import "parley/weights"

// Model is both halves.
type Model struct {
	Vision *Vision
	Text   *Text
}

// Load builds a model from config.json and transformers' tensor names.
func Load(c weights.Config, l *weights.Loader) (*Model, error) {
	vc, err := c.Sub("vision_config")
	if err != nil {
		return nil, err
	}
	tc, err := c.Sub("text_config")
	if err != nil {
		return nil, err
	}
	m := &Model{}
	if m.Vision, err = loadVision(vc, l); err != nil {
		return nil, err
	}
	m.Text, err = loadText(tc, m.Vision.patches.Width, l)
	return m, err
}
