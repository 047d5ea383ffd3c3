package pixels

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"

	"parley/engine"
	"parley/kernels/resize"
	"parley/kernels/rgb"
	"parley/weights"
)

// Processor makes a net's input of pictures, as a preprocessor_config.json
// says (transformers' CLIPImageProcessor, BlipImageProcessor and ViTImageProcessor).
type Processor struct {
	Shortest      int // the shorter side after resizing; 0: Width x Height
	Longest       int // the longer side, where Shortest is 0
	Width, Height int
	Filter        Filter
	CropW, CropH  int  // 0: no crop; what is beyond the picture is black
	Torch         bool // the middle is torchvision's, not transformers', where it falls between two pixels
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

// DINO is how DINO's own evaluation prepares pictures, with ImageNet's mean and
// deviation: the shorter side to 256 for a net of 224 pixels, of which the middle.
func DINO(size int) *Processor {
	return &Processor{Shortest: size * 256 / 224, Filter: Bicubic, CropW: size, CropH: size, Torch: true, Scale: 1. / 255,
		Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225}}
}

// ReadProcessor reads how pictures are prepared for a net from a model's folder:
// from transformers 5's processor_config.json, from the preprocessor_config.json
// of before, or from open_clip's configuration, whichever is there first. def is
// for a folder that has none, and has the net's size.
func ReadProcessor(fsys fs.FS, dir string, def *Processor) (*Processor, error) {
	c, err := weights.ReadConfig(fsys, path.Join(dir, "processor_config.json"))
	if err == nil && c.Has("image_processor") {
		if c, err = c.Sub("image_processor"); err == nil {
			return parseProcessor(c)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	p, err := ParseProcessor(fsys, path.Join(dir, "preprocessor_config.json"))
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	return ReadOpenCLIP(fsys, dir, def)
}

// ReadOpenCLIP is ReadProcessor for the one configuration that lies beside a
// file of open_clip's.
func ReadOpenCLIP(fsys fs.FS, dir string, def *Processor) (*Processor, error) {
	c, err := weights.ReadConfig(fsys, path.Join(dir, "open_clip_config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return def, nil
	}
	if err == nil {
		c, err = c.Sub("preprocess_cfg")
	}
	if err != nil {
		return nil, err
	}
	size, _, _ := def.Size()
	return parseOpenCLIP(c, size)
}

// parseOpenCLIP reads open_clip's preprocess_cfg, as its image_transform obeys it
// for inference: the size is the net's.
func parseOpenCLIP(c weights.Config, size int) (*Processor, error) {
	r := c.Reader()
	p := &Processor{Filter: Bicubic, Scale: 1. / 255, CropW: size, CropH: size, Torch: true, Mean: mean, Std: std}
	if r.OneOf("interpolation", "bicubic", "bicubic", "bilinear", "random") == "bilinear" {
		p.Filter = Bilinear
	}
	switch r.OneOf("resize_mode", "shortest", "shortest", "longest", "squash") {
	case "shortest":
		p.Shortest = size
	case "longest":
		p.Longest = size
		r.Only("fill_color", 0, "only black is put beside pictures")
	default:
		p.Width, p.Height, p.CropW, p.CropH = size, size, 0, 0
	}
	r.Only("mode", "RGB", "pictures have three channels")
	p.normalise(r, "mean", "std")
	return p, r.Err()
}

// normalise reads the mean and the deviation, three numbers or one; what is not said
// stays.
func (p *Processor) normalise(r *weights.Reader, keys ...string) {
	copy(p.Mean[:], r.Floats(keys[0], 3, p.Mean[:]))
	copy(p.Std[:], r.Floats(keys[1], 3, p.Std[:]))
	for _, v := range p.Std {
		if v <= 0 {
			r.Fail(fmt.Errorf("%s holds %v, want more than 0", keys[1], v))
		}
	}
}

// ParseProcessor reads a preprocessor_config.json.
func ParseProcessor(fsys fs.FS, path string) (*Processor, error) {
	c, err := weights.ReadConfig(fsys, path)
	if err != nil {
		return nil, err
	}
	return parseProcessor(c)
}

func parseProcessor(c weights.Config) (*Processor, error) {
	r, file := c.Reader(), c.File()
	kind := r.String("image_processor_type", r.String("feature_extractor_type", ""))
	vit, blip := strings.HasPrefix(kind, "ViT"), strings.HasPrefix(kind, "Blip")
	if kind != "" && !vit && !blip && !strings.HasPrefix(kind, "CLIP") {
		r.Fail(fmt.Errorf("%s: image_processor_type is %q, whose defaults are not known: want CLIP's, BLIP's or ViT's", file, kind))
	}
	filter := Bicubic
	if vit {
		filter = Bilinear
	}
	p := &Processor{Filter: Filter(r.Int("resample", int(filter))), Scale: 1, Std: [3]float64{1, 1, 1}}
	if p.Filter < Nearest || p.Filter > Box {
		r.Fail(fmt.Errorf("%s: resample is %d, supported: 0 to 4", file, p.Filter))
	}
	clip := c.Has("crop_size") && !vit && !blip || strings.HasPrefix(r.String("image_processor_type", ""), "CLIPImageProcessor") ||
		r.String("feature_extractor_type", "") == "CLIPFeatureExtractor"
	square := r.Bool("default_to_square", !clip)
	if !r.Bool("do_resize", true) {
		r.Fail(fmt.Errorf("%s: do_resize is false: pictures would differ in size", file))
	}
	switch {
	case c.Has("size"):
		p.Width, p.Height, p.Shortest = box(r, c, "size")
		switch c["size"].(type) {
		case map[string]any, []any: // a height and a width
		default:
			if !square {
				p.Shortest, p.Width, p.Height = p.Width, 0, 0
			}
		}
	case vit:
		p.Width, p.Height = 224, 224
	case clip:
		p.Shortest = 224
	default:
		p.Width, p.Height = 384, 384
	}
	if clip && r.Bool("use_square_size", false) { // KOSMOS-2's, which is 224
		if max(p.Shortest, p.Width, p.Height) != 224 {
			r.Fail(fmt.Errorf("%s: use_square_size is true: transformers 4 and 5 differ over a size other than 224", file))
		}
		p.Shortest, p.Width, p.Height = 0, 224, 224
	}
	if r.Bool("do_center_crop", clip) {
		p.CropW, p.CropH = 224, 224
		if c.Has("crop_size") {
			w, h, shortest := box(r, c, "crop_size")
			p.CropW, p.CropH = max(w, shortest), max(h, shortest)
		}
	}
	if r.Bool("do_rescale", true) {
		p.Scale = r.Float("rescale_factor", 1./255)
	}
	if r.Bool("do_normalize", true) {
		p.Mean, p.Std = mean, std
		if vit {
			p.Mean, p.Std = [3]float64{0.5, 0.5, 0.5}, [3]float64{0.5, 0.5, 0.5}
		}
		p.normalise(r, "image_mean", "image_std")
	}
	r.Only("do_pad", false, "pictures are not padded")
	r.Only("pad_size", nil, "pictures are not padded")
	return p, r.Err()
}

// largest is the longest side that pictures are resized to, in pixels.
const largest = 1 << 14

// box is a size: a number, a list of a height and a width, or an object that
// names the two or the shorter side.
func box(r *weights.Reader, c weights.Config, key string) (w, h, shortest int) {
	side := func(what string, n int) int {
		if n < 1 || n > largest {
			r.Fail(fmt.Errorf("%s: %s is %d, want 1 to %d", c.File(), what, n, largest))
		}
		return n
	}
	if _, isMap := c[key].(map[string]any); !isMap {
		h, w := r.Sides(key, 224)
		side(key, max(w, h))
		return w, h, 0
	}
	sub, err := c.Sub(key)
	r.Fail(err)
	q := sub.Reader()
	for k := range sub {
		if sub.Has(k) && k != "height" && k != "width" && k != "shortest_edge" {
			r.Fail(fmt.Errorf("%s: %s is not supported", sub.File(), k))
			return 1, 1, 0
		}
	}
	if sub.Has("shortest_edge") {
		shortest = side(key+".shortest_edge", q.Int("shortest_edge", 0))
	} else {
		w, h = side(key+".width", q.Int("width", 0)), side(key+".height", q.Int("height", 0))
	}
	r.Fail(q.Err())
	return w, h, shortest
}

// Size is what pictures have after Apply; false where it depends on the picture.
func (p *Processor) Size() (w, h int, fixed bool) {
	if p.CropW > 0 {
		return p.CropW, p.CropH, true
	}
	return p.Width, p.Height, p.Shortest == 0 && p.Longest == 0
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
	if p.Shortest == 0 && p.Longest > 0 {
		ratio := float64(max(x.Dim(1), x.Dim(2))) / float64(p.Longest)
		h, w = max(1, int(math.RoundToEven(float64(x.Dim(1))/ratio))), max(1, int(math.RoundToEven(float64(x.Dim(2))/ratio)))
	}
	part := resize.Window{H: h, W: w}
	if p.CropW > 0 {
		part = resize.Window{Top: p.half(h - p.CropH), Left: p.half(w - p.CropW), H: p.CropH, W: p.CropW}
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

// half is where a crop begins of what is n larger, or a picture in a crop that is
// -n larger: rounded down, also below 0, or to the even one and towards 0.
func (p *Processor) half(n int) int {
	switch {
	case !p.Torch:
		return n >> 1
	case n < 0:
		return n / 2
	}
	return int(math.RoundToEven(float64(n) / 2))
}

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
