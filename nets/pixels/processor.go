package pixels

import (
	"fmt"
	"io/fs"

	"parley/engine"
	"parley/kernels/resize"
	"parley/kernels/rgb"
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

// Size is what pictures have after Apply; false where it depends on the picture.
func (p *Processor) Size() (w, h int, fixed bool) {
	if p.CropW > 0 {
		return p.CropW, p.CropH, true
	}
	return p.Width, p.Height, p.Shortest == 0
}

// Apply gives [N, H, W, 3] of pictures as activations on a stream's device. They
// all have to come out in one size.
func (p *Processor) Apply(s *engine.Stream, pictures []Picture) (*engine.Tensor, error) {
	if len(pictures) == 0 {
		return nil, fmt.Errorf("no pictures")
	}
	var y *engine.Tensor
	levels := p.levels()
	for i, m := range pictures {
		x := m.On(s)
		if x.Elems() == 0 {
			return nil, fmt.Errorf("picture %d is %d x %d", i, x.Dim(2), x.Dim(1))
		}
		x, part := p.fit(s, x)
		if err := s.Err(); err != nil {
			return nil, err
		}
		if i == 0 {
			y = s.New(s.Float(), len(pictures), part.H, part.W, 3)
		} else if part.H != y.Dim(1) || part.W != y.Dim(2) {
			return nil, fmt.Errorf("picture %d is %d x %d after resizing, picture 0 is %d x %d", i, part.W, part.H, y.Dim(2), y.Dim(1))
		}
		rgb.Normalise(s, y.Rows(i, i+1), x, part, levels)
		s.Free(x)
	}
	return y, s.Err()
}

// fit resizes a picture x [1, H, W, 3] as far as it is seen, frees it, and says
// which part of what it returns is wanted, which may go beyond.
func (p *Processor) fit(s *engine.Stream, x *engine.Tensor) (*engine.Tensor, resize.Window) {
	h, w := p.Height, p.Width
	if p.Shortest > 0 {
		short, long := float64(min(x.Dim(1), x.Dim(2))), float64(max(x.Dim(1), x.Dim(2)))
		h, w = int(float64(p.Shortest)*long/short), p.Shortest
		if x.Dim(2) > x.Dim(1) {
			h, w = w, h
		}
	}
	part := resize.Window{H: h, W: w}
	if p.CropW > 0 {
		part = resize.Window{Top: floorHalf(h - p.CropH), Left: floorHalf(w - p.CropW), H: p.CropH, W: p.CropW}
	}
	if h == x.Dim(1) && w == x.Dim(2) {
		return x, part
	}
	seen := resize.Window{Top: max(part.Top, 0), Left: max(part.Left, 0), H: min(part.H, h), W: min(part.W, w)}
	y := resize.Resize(s, x, h, w, p.Filter, seen)
	s.Free(x)
	part.Top, part.Left = part.Top-seen.Top, part.Left-seen.Left
	return y, part
}

// floorHalf is n/2 rounded down, also below 0.
func floorHalf(n int) int { return n >> 1 }

func (p *Processor) levels() *rgb.Levels {
	var l rgb.Levels
	for c := range l {
		for v := range l[c] {
			l[c][v] = float32((float64(v)*p.Scale - p.Mean[c]) / p.Std[c])
		}
	}
	return &l
}

// Signed gives pictures x [N, H, W, 3] of u8 as activations of -1 to 1, as an
// autoencoder takes them. rgb.Bytes is the way back.
func Signed(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	var l rgb.Levels
	for c := range l {
		for v := range l[c] {
			l[c][v] = float32(v)/127.5 - 1
		}
	}
	y := s.New(s.Float(), x.Shape()...)
	rgb.Normalise(s, y, x, resize.Window{H: x.Dim(1), W: x.Dim(2)}, &l)
	return y
}
