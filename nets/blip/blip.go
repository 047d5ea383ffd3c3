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
	config, err := ParseConfig(c)
	if err != nil {
		return nil, err
	}
	return New(config, l)
}

// New builds a model of a configuration.
func New(c Config, l *weights.Loader) (*Model, error) {
	m := &Model{}
	var err error
	if m.Vision, err = newVision(c.Vision, l); err != nil {
		return nil, err
	}
	if m.Text, err = newText(c.Text, c.Vision.Width, l); err != nil {
		return nil, err
	}
	l.Unread("a captioner of BLIP")
	return m, l.Err()
}
