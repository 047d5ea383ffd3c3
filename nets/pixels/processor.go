package pixels

import (
	"fmt"
	"io/fs"
	"math"

	"parley/engine"
	"parley/weights"
)

// Processor makes a net's input of pictures, as a preprocessor_config.json
// says (transformers' CLIPImageProcessor and BlipImageProcessor).
type Processor struct {
	Shortest      int // the shorter side after resizing; 0: Width x Height
	Width, Height int
	Filter        Filter
	CropW, CropH  int // 0: no crop
	Scale         float64
	Mean, Std     [3]float64
}

// CLIP's mean and deviation of red, green and blue.
var (
	mean = [3]float64{0.48145466, 0.4578275, 0.40821073}
	std  = [3]float64{0.26862954, 0.26130258, 0.27577711}
)

// CLIP resizes the shorter side to size and crops the middle.
func CLIP(size int) *Processor {
	return &Processor{Shortest: size, Filter: Bicubic, CropW: size, CropH: size, Scale: 1. / 255, Mean: mean, Std: std}
}

// BLIP resizes to a square.
func BLIP(size int) *Processor {
	return &Processor{Width: size, Height: size, Filter: Bicubic, Scale: 1. / 255, Mean: mean, Std: std}
}

// ParseProcessor reads a preprocessor_config.json.
func ParseProcessor(fsys fs.FS, path string) (*Processor, error) {
	c, err := weights.ReadConfig(fsys, path)
	if err != nil {
		return nil, err
	}
	r := c.Reader()
	p := &Processor{Filter: Filter(r.Int("resample", int(Bicubic))), Scale: 1, Std: [3]float64{1, 1, 1}}
	if p.Filter < Nearest || p.Filter > Box {
		r.Fail(fmt.Errorf("%s: resample is %d, supported: 0 to 4", path, p.Filter))
	}
	side := func(key string, n int) int {
		if n < 1 || n > 1<<14 {
			r.Fail(fmt.Errorf("%s: %s is %d", path, key, n))
		}
		return n
	}
	box := func(key string) (w, h, shortest int) {
		if _, ok := c[key].(map[string]any); !ok {
			n := side(key, r.Int(key, 224))
			return n, n, n
		}
		sub, err := c.Sub(key)
		if err != nil {
			r.Fail(err)
			return
		}
		q := sub.Reader()
		if sub.Has("shortest_edge") {
			shortest = side(key+".shortest_edge", q.Int("shortest_edge", 0))
		} else {
			w, h = side(key+".width", q.Int("width", 0)), side(key+".height", q.Int("height", 0))
		}
		if err := q.Err(); err != nil {
			r.Fail(err)
		}
		return
	}
	clip := c.Has("crop_size") || r.String("image_processor_type", "") == "CLIPImageProcessor" || r.String("feature_extractor_type", "") == "CLIPFeatureExtractor"
	if r.Bool("do_resize", true) {
		if c.Has("size") {
			w, h, shortest := box("size")
			_, isMap := c["size"].(map[string]any)
			if shortest > 0 && (isMap || clip) {
				p.Shortest = shortest
			} else {
				p.Width, p.Height = w, h
			}
		} else if clip {
			p.Shortest = 224
		} else {
			p.Width, p.Height = 384, 384
		}
	} else {
		r.Fail(fmt.Errorf("%s: do_resize is false: pictures would differ in size", path))
	}
	if r.Bool("do_center_crop", clip) {
		p.CropW, p.CropH = 224, 224
		if c.Has("crop_size") {
			w, h, shortest := box("crop_size")
			if shortest > 0 {
				w, h = shortest, shortest
			}
			p.CropW, p.CropH = w, h
		}
	}
	if r.Bool("do_rescale", true) {
		p.Scale = r.Float("rescale_factor", 1./255)
	}
	if r.Bool("do_normalize", true) {
		p.Mean, p.Std = mean, std
		for key, v := range map[string]*[3]float64{"image_mean": &p.Mean, "image_std": &p.Std} {
			if !c.Has(key) {
				continue
			}
			list, ok := c[key].([]any)
			if !ok || len(list) != 3 {
				r.Fail(fmt.Errorf("%s: %s: want three numbers", path, key))
				continue
			}
			for i, x := range list {
				if v[i], err = (weights.Config{key: x}).Float(key, 0); err != nil {
					r.Fail(fmt.Errorf("%s: %w", path, err))
				}
			}
		}
		for _, v := range p.Std {
			if v == 0 {
				r.Fail(fmt.Errorf("%s: image_std holds 0", path))
			}
		}
	}
	return p, r.Err()
}

// Size is what pictures have after Fit; false where it depends on the picture.
func (p *Processor) Size() (w, h int, fixed bool) {
	if p.CropW > 0 {
		return p.CropW, p.CropH, true
	}
	return p.Width, p.Height, p.Shortest == 0
}

// Fit resizes and crops a picture.
func (p *Processor) Fit(m *Image) *Image {
	w, h := p.Width, p.Height
	if p.Shortest > 0 {
		short, long := float64(min(m.W, m.H)), float64(max(m.W, m.H))
		l := int(float64(p.Shortest) * long / short)
		if w, h = p.Shortest, l; m.W > m.H {
			w, h = l, p.Shortest
		}
	}
	m = m.Resize(w, h, p.Filter)
	if p.CropW > 0 {
		m = m.Crop(floorHalf(m.W-p.CropW), floorHalf(m.H-p.CropH), p.CropW, p.CropH)
	}
	return m
}

// floorHalf is n/2 rounded down, also below 0.
func floorHalf(n int) int { return n >> 1 }

// Apply gives [N, H, W, 3] of pictures, which all have to come out in one size.
func (p *Processor) Apply(images []*Image) (*engine.Tensor, error) {
	if len(images) == 0 {
		return nil, fmt.Errorf("no pictures")
	}
	var data []float32
	var w, h int
	for i, m := range images {
		m = p.Fit(m)
		if i == 0 {
			w, h = m.W, m.H
			data = make([]float32, 0, len(images)*3*w*h)
		} else if m.W != w || m.H != h {
			return nil, fmt.Errorf("picture %d is %d x %d after resizing, picture 0 is %d x %d", i, m.W, m.H, w, h)
		}
		for j, v := range m.Pix {
			c := j % 3
			data = append(data, float32((float64(v)*p.Scale-p.Mean[c])/p.Std[c]))
		}
	}
	return engine.FromF32(data, len(images), h, w, 3), nil
}

// ToTensor gives [N, H, W, 3] in -1..1 of pictures of one size.
func ToTensor(images []*Image) (*engine.Tensor, error) {
	var data []float32
	for i, m := range images {
		if m.W != images[0].W || m.H != images[0].H {
			return nil, fmt.Errorf("picture %d is %d x %d, picture 0 is %d x %d", i, m.W, m.H, images[0].W, images[0].H)
		}
		for _, v := range m.Pix {
			data = append(data, float32(v)/127.5-1)
		}
	}
	if data == nil {
		return nil, fmt.Errorf("no pictures")
	}
	return engine.FromF32(data, len(images), images[0].H, images[0].W, 3), nil
}

// FromTensor turns [N, H, W, 3] in -1..1, on the host, into pictures.
func FromTensor(t *engine.Tensor) []*Image {
	n, h, w := t.Dim(0), t.Dim(1), t.Dim(2)
	out := make([]*Image, n)
	for i := range out {
		m := &Image{w, h, make([]uint8, 3*w*h)}
		for j, v := range t.F32()[i*3*w*h : (i+1)*3*w*h] {
			m.Pix[j] = uint8(math.RoundToEven(float64(min(max(v/2+0.5, 0), 1) * 255)))
		}
		out[i] = m
	}
	return out
}
