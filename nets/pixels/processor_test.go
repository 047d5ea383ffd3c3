package pixels

import (
	"bytes"
	"context"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"parley/engine"
	"parley/engine/host"
)

// TestReadProcessor: which file says how pictures are prepared, and what it says.
func TestReadProcessor(t *testing.T) {
	half := [3]float64{.5, .5, .5}
	const v5 = `{"image_processor": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40},
		"crop_size": {"height": 32, "width": 32},
		"image_mean": [0.5, 0.5, 0.5], "image_std": 0.5, "resample": 3, "rescale_factor": 0.00392156862745098},
			"processor_class": "CLIPProcessor"}`
	const v4 = `{"size": 24, "do_center_crop": true, "crop_size": 20, "image_processor_type": "CLIPImageProcessor"}`
	const open = `{"model_cfg": {}, "preprocess_cfg": {"size": 99, "mean": 0.5, "std": [0.5, 0.5, 0.5], "interpolation": "bilinear",
		"resize_mode": `
	const blip = `{"image_processor_type": "BlipImageProcessor", "crop_size": 20`
	const kosmos = `{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}, "use_square_size": true}`
	def := CLIP(64)
	five := &Processor{Shortest: 40, CropW: 32, CropH: 32, Filter: Bicubic, Scale: 1. / 255, Mean: half, Std: half}
	four := &Processor{Shortest: 24, CropW: 20, CropH: 20, Filter: Bicubic, Scale: 1. / 255, Mean: mean, Std: std}
	clip := func(edit func(*Processor)) *Processor {
		p := &Processor{Filter: Bilinear, CropW: 64, CropH: 64, Torch: true, Scale: 1. / 255, Mean: half, Std: half}
		edit(p)
		return p
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  *Processor
	}{
		{"nothing", nil, def},
		{"transformers 5", map[string]string{"processor_config.json": v5}, five},
		{"5 before 4", map[string]string{"processor_config.json": v5, "preprocessor_config.json": v4}, five},
		{"4", map[string]string{"preprocessor_config.json": v4, "open_clip_config.json": open + `"squash"}}`}, four},
		{"a side", map[string]string{"preprocessor_config.json": v4}, four},
		{"both sides", map[string]string{"preprocessor_config.json": strings.Replace(v4, "24", "[24, 24]", 1)},
			&Processor{Width: 24, Height: 24, CropW: 20, CropH: 20, Filter: Bicubic, Scale: 1. / 255, Mean: mean, Std: std}},
		{"two sides", map[string]string{"preprocessor_config.json": strings.Replace(v4, "24", "[30, 26]", 1)},
			&Processor{Width: 26, Height: 30, CropW: 20, CropH: 20, Filter: Bicubic, Scale: 1. / 255, Mean: mean, Std: std}},
		{"BLIP's crop, which is not asked for", map[string]string{"preprocessor_config.json": blip + `}`},
			&Processor{Width: 384, Height: 384, Filter: Bicubic, Scale: 1. / 255, Mean: mean, Std: std}},
		{"BLIP's crop", map[string]string{"preprocessor_config.json": blip + `, "do_center_crop": true}`},
			&Processor{Width: 384, Height: 384, CropW: 20, CropH: 20, Filter: Bicubic, Scale: 1. / 255, Mean: mean, Std: std}},
		{"KOSMOS-2's square", map[string]string{"preprocessor_config.json": kosmos},
			&Processor{Width: 224, Height: 224, CropW: 224, CropH: 224, Filter: Bicubic, Scale: 1. / 255, Mean: mean, Std: std}},
		{"a processor that is none", map[string]string{"processor_config.json": `{"processor_class": "CLIPProcessor"}`,
			"preprocessor_config.json": v4}, four},
		{"shortest", map[string]string{"open_clip_config.json": open + `"shortest"}}`}, clip(func(p *Processor) { p.Shortest = 64 })},
		{"longest", map[string]string{"open_clip_config.json": open + `"longest"}}`}, clip(func(p *Processor) { p.Longest = 64 })},
		{"squash", map[string]string{"open_clip_config.json": open + `"squash"}}`},
			clip(func(p *Processor) { p.Width, p.Height, p.CropW, p.CropH = 64, 64, 0, 0 })},
	} {
		fsys := fstest.MapFS{}
		for name, text := range c.files {
			fsys["m/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
		have, err := ReadProcessor(fsys, "m", def)
		if err != nil || !reflect.DeepEqual(have, c.want) {
			t.Errorf("%s: have %+v, %v; want %+v", c.name, have, err, c.want)
		}
	}
	for text, want := range map[string]string{
		`{"preprocess_cfg": {"mode": "L"}}`:                                 `mode is "L"`,
		`{"preprocess_cfg": {"resize_mode": "fit"}}`:                        "resize_mode",
		`{"preprocess_cfg": {"interpolation": "lanczos"}}`:                  "interpolation",
		`{"preprocess_cfg": {"resize_mode": "longest", "fill_color": 128}}`: "fill_color is 128",
		`{"preprocess_cfg": {"mean": [0.5]}}`:                               "mean: have [0.5]",
		`{"preprocess_cfg": {"std": [0.5, 0, 0.5]}}`:                        "std holds 0",
		`{"preprocess_cfg": 7}`:                                             "preprocess_cfg: have 7",
		`<html>`:                                                            "an HTML or XML page",
	} {
		if _, err := ReadProcessor(fstest.MapFS{"open_clip_config.json": {Data: []byte(text)}}, ".", def); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, want %s", text, err, want)
		}
	}
}

// TestLongest: the longer side is resized to what open_clip 3.3 says, the shorter one
// follows it, and black lies beside it.
func TestLongest(t *testing.T) {
	white := [3]uint8{255, 255, 255}
	for _, c := range []struct{ w, h, left, top, width, height int }{
		{16, 8, 0, 2, 8, 4}, {4, 8, 2, 0, 4, 8}, {2, 1, 0, 2, 8, 4}, {16, 5, 0, 3, 8, 2},
	} {
		m := &Image{c.w, c.h, bytes.Repeat(white[:], c.w*c.h)}
		p := &Processor{Longest: 8, CropW: 8, CropH: 8, Filter: Bilinear, Torch: true, Scale: 1, Std: [3]float64{1, 1, 1}}
		s := engine.NewStream(context.Background(), host.New(1))
		x, err := p.Apply(s, []Picture{m})
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range x.F32() {
			x, y := i/3%8-c.left, i/24-c.top
			if in := x >= 0 && x < c.width && y >= 0 && y < c.height; in != (v == 255) || !in && v != 0 {
				t.Fatalf("%d x %d: %v at %d, %d", c.w, c.h, v, i/3%8, i/24)
			}
		}
	}
}

// TestMiddles: torchvision's crop and padding, and transformers', where the
// middle falls between two pixels.
func TestMiddles(t *testing.T) {
	for n, want := range map[int][2]int{4: {2, 2}, 1: {0, 0}, 3: {1, 2}, 5: {2, 2}, 7: {3, 4}, 0: {0, 0}, -1: {-1, 0}, -3: {-2, -1},
		-4: {-2, -2}} {
		have := [2]int{(&Processor{}).half(n), (&Processor{Torch: true}).half(n)}
		if have != want {
			t.Errorf("%d: have %v, want %v", n, have, want)
		}
	}
}
