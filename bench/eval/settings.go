package eval

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"parley/bench/coco"
	"parley/nets/models"
	"parley/output"
)

// The reconstructions.
const (
	Image = "image" // picture → captions → a drawing of each
	Text  = "text"  // text → drawings → a caption of each
)

// Settings are what a run's records follow from, in its folder's settings.json. Two
// runs of the same settings write the same records, on machines of one kind.
type Settings struct {
	Format int    `json:"format"`
	Task   string `json:"task"`
	Data   Data   `json:"data"`
	Shard  string `json:"shard"` // i/n
	K      int    `json:"k"`
	Seed   uint64 `json:"seed"`

	Caption  Caption `json:"caption"`            // of pictures, K times; of drawings in the text task
	Beam     Caption `json:"beam"`               // the caption that takes no part; of drawings in the text task
	Draw     Draw    `json:"draw"`               //
	Drawings int     `json:"drawings"`           // of each caption
	Redraw   bool    `json:"redraw_duplicates"`  // a caption that comes twice is drawn twice
	Pooled   bool    `json:"pooled"`             // CLIP before its projection
	Prune    string  `json:"prune,omitempty"`    // rounds, AFTER:KEEP,…
	Keep     string  `json:"pictures,omitempty"` // the format in which drawings are kept

	Models    map[string]Model `json:"models"`
	Device    string           `json:"device"` // cpu, cuda or ptx
	Precision string           `json:"precision"`
	Program   string           `json:"program"` // its version
	Machine   string           `json:"machine"` // the first that ran it; others may go on
}

// Data says which items there are.
type Data struct {
	Name   string `json:"name"`             // where they were
	Images string `json:"images,omitempty"` // where their pictures were; "": there
	Split  string `json:"split,omitempty"`
	Domain string `json:"domain,omitempty"`
	Items  int    `json:"items"`  // of all shards
	SHA256 string `json:"sha256"` // over their ids, pictures' names, domains and texts
}

// Model is a checkpoint.
type Model struct {
	Path   string `json:"path"` // where it was
	SHA256 string `json:"sha256"`
}

// Caption is how captions are written.
type Caption struct {
	Prompt            string  `json:"prompt"`
	KeepPrompt        bool    `json:"keep_prompt"`
	Beams             int     `json:"beams,omitempty"`
	Sample            bool    `json:"sample"`
	TopP              float64 `json:"top_p,omitempty"`
	TopK              int     `json:"top_k,omitempty"`
	Temperature       float64 `json:"temperature,omitempty"`
	RepetitionPenalty float64 `json:"repetition_penalty,omitempty"`
	MinLength         int     `json:"min_length"`
	MaxLength         int     `json:"max_length"`
}

func captionOf(o models.CaptionOptions) Caption {
	return Caption{o.Prompt, o.KeepPrompt, o.Beams, o.Sample, o.TopP, o.TopK, o.Temperature, o.RepetitionPenalty, o.MinLength, o.MaxLength}
}

// Draw is how pictures are drawn.
type Draw struct {
	Steps      int     `json:"steps"`
	UNet       int     `json:"unet_steps"` // how often the UNet runs for it
	Guidance   float64 `json:"guidance"`
	Scheduler  string  `json:"scheduler"`
	Prediction string  `json:"prediction,omitempty"`
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Tiling     string  `json:"vae_tiling,omitempty"`
	ClipSkip   int     `json:"clip_skip,omitempty"`
	Negative   string  `json:"negative,omitempty"`
	Chunks     bool    `json:"chunks,omitempty"`
}

func drawOf(o models.DrawOptions, unet int, scheduler string) Draw {
	return Draw{o.Steps, unet, o.Guidance, scheduler, o.Prediction, o.Width, o.Height, string(o.Tiling), o.ClipSkip, o.Negative, o.Chunks}
}

// format is that of the files of a folder.
const format = 1

func settingsFile(dir string) string { return filepath.Join(dir, "settings.json") }
func itemsFile(dir string) string    { return filepath.Join(dir, "items.jsonl") }
func timesFile(dir string) string    { return filepath.Join(dir, "timings.jsonl") }

// ReadSettings reads a folder's.
func ReadSettings(dir string) (*Settings, error) {
	data, err := os.ReadFile(settingsFile(dir))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: no folder of an evaluation: %w", dir, err)
		}
		return nil, err
	}
	var s Settings
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", settingsFile(dir), err)
	}
	if s.Format != format {
		return nil, fmt.Errorf("%s: format %d, this program reads %d", settingsFile(dir), s.Format, format)
	}
	return &s, nil
}

func (s *Settings) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return output.WriteFile(settingsFile(dir), append(data, '\n'), output.Options{Kind: output.JSON, Sync: true})
}

// shard is the part of the data that the folder has.
func (s *Settings) shard() (coco.Shard, error) { return coco.ParseShard(s.Shard) }

// Size is how many items the folder's shard has.
func (s *Settings) Size() (n int, err error) {
	shard, err := s.shard()
	if err != nil {
		return 0, err
	}
	for i := range s.Data.Items {
		if shard.Has(i) {
			n++
		}
	}
	return n, nil
}

// flat has the settings that records follow from, by their JSON names.
func (s *Settings) flat() map[string]string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // they are plain values
	}
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		panic(err)
	}
	out := map[string]string{}
	var walk func(name string, v any)
	walk = func(name string, v any) {
		if m, ok := v.(map[string]any); ok {
			for k, v := range m {
				walk(strings.TrimPrefix(name+"."+k, "."), v)
			}
			return
		}
		out[name] = fmt.Sprint(v)
	}
	walk("", v)
	maps.DeleteFunc(out, func(name, _ string) bool {
		return name == "machine" || name == "data.name" || name == "data.images" || strings.HasPrefix(name, "models.") &&
			strings.HasSuffix(name, ".path")
	})
	return out
}

// differ names the settings of a and b that are not the same, but for those that do
// not matter.
func differ(a, b *Settings, but ...string) []string {
	x, y := a.flat(), b.flat()
	names := map[string]bool{}
	for k := range x {
		names[k] = true
	}
	for k := range y {
		names[k] = true
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(names)) {
		if x[k] != y[k] && !slices.Contains(but, k) {
			out = append(out, fmt.Sprintf("%s %s, there %s", k, orNone(y[k]), orNone(x[k])))
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	if len(s) > 40 {
		s = s[:12] + "…"
	}
	return s
}
