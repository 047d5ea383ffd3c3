package eval

import (
	"fmt"

	"parley/nets/models"
	"parley/nets/rerank"
	"parley/nets/schedule"
)

// Models are those of an experiment.
type Models struct {
	BLIP *models.BLIP
	SD   *models.StableDiffusion
	CLIP *models.CLIP
}

// Options are what an experiment can be told.
type Options struct {
	Task     string // Image or Text
	K        int    // candidates of each item
	Seed     uint64
	Caption  models.CaptionOptions // of pictures in the image task
	Beam     models.CaptionOptions // of drawings in the text task; in the image task, of the caption that takes no part
	Draw     models.DrawOptions
	Drawings int  // of each caption; the closest one counts
	Redraw   bool // draw a caption again that comes twice, as the paper does
	Pooled   bool // choose by CLIP before its projection, as the paper's authors did
	Prune    []rerank.Round
	Keep     string // the format in which drawings are kept; "": they are not
}

// New is an experiment of models, with the settings that follow from them; those of
// the data, of the models' hashes and of the program are the caller's.
func New(m Models, o Options) (Experiment, error) {
	if o.Task != Image && o.Task != Text {
		return Experiment{}, fmt.Errorf("task %q: want %s or %s", o.Task, Image, Text)
	}
	if _, ok := formats[o.Keep]; !ok && o.Keep != "" {
		return Experiment{}, fmt.Errorf("pictures as %q: want png or webp", o.Keep)
	}
	if o.Task == Text && len(o.Prune) > 0 && o.Prune[0].After == 0 {
		return Experiment{}, fmt.Errorf("pruning %v: after 0 of the steps captions are compared with their picture, and the text task has none",
			o.Prune[0])
	}
	plan, err := m.SD.Pipeline.Plan(o.Draw.Options)
	if err != nil {
		return Experiment{}, err
	}
	sampler, err := schedule.ParseConfig(m.SD.Pipeline.Scheduler, o.Draw.Scheduler)
	if err != nil {
		return Experiment{}, err
	}
	if sampler.Karras {
		sampler.Kind += "-karras"
	}
	e := Experiment{
		Settings: Settings{Task: o.Task, K: o.K, Seed: o.Seed, Shard: "1/1", Caption: captionOf(o.Caption), Beam: captionOf(o.Beam),
			Draw: drawOf(o.Draw, plan.Steps(), sampler.Kind), Drawings: max(1, o.Drawings), Redraw: o.Redraw, Pooled: o.Pooled,
			Prune: rerank.FormatRounds(o.Prune), Keep: o.Keep, Models: map[string]Model{}},
		Loop: rerank.Loop{Captioner: m.BLIP.Captioner(o.Caption), Describer: m.BLIP.Captioner(o.Beam), Painter: m.SD.Painter(o.Draw),
			Judge: m.CLIP.Judge(models.EmbedOptions{Pooled: o.Pooled}), K: o.K, RedrawDuplicates: o.Redraw, Drawings: o.Drawings,
			Prune: o.Prune},
		Scorers: []Scorer{CLIP(o.Task, m.CLIP.Judge(models.EmbedOptions{}))},
	}
	if o.Task == Image {
		e.Beam = m.BLIP.Captioner(o.Beam)
	}
	return e, nil
}
