package nets_test

import (
	"hash/crc32"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/storage"
	"parley/nets/bert"
	"parley/nets/inception"
	"parley/nets/pixels"
	"parley/nets/vit"
	"parley/weights"
)

func loadBERT(g golden, l *weights.Loader) (forward, error) {
	m, err := bert.Load(g.config, l)
	return func(s *engine.Stream) (map[string]*engine.Tensor, error) {
		hidden, err := m.Forward(s, g.ids())
		if err != nil {
			return nil, err
		}
		embeds, err := m.Embed(s, g.ids())
		return map[string]*engine.Tensor{"hidden": hidden, "embeds": embeds}, err
	}, err
}

func loadViT(g golden, l *weights.Loader) (forward, error) {
	m, err := vit.Load(g.config, l)
	return func(s *engine.Stream) (map[string]*engine.Tensor, error) {
		x, wide := s.Put(g.tensor("in.pixels")), s.Put(g.tensor("in.wide"))
		defer s.Free(x, wide)
		other, err := m.Forward(s, wide)
		if err != nil {
			return nil, err
		}
		class, err := m.Class(s, x)
		if err != nil {
			return nil, err
		}
		hidden, err := m.Forward(s, x)
		return map[string]*engine.Tensor{"hidden": hidden, "class": class, "wide": other}, err
	}, err
}

// formula makes tensors of numbers that a name gives, as judges.py does.
type formula struct{ spoilt string }

// Has implements weights.Maker: there is all but a classifier.
func (formula) Has(name string) bool { return !strings.HasPrefix(name, "fc.") }

// Make implements weights.Maker.
func (f formula) Make(name string, shape engine.Shape) storage.Source {
	v := numbers(name, shape.Elems())
	for i := range v {
		switch {
		case strings.HasSuffix(name, "conv.weight"):
			v[i] *= 2.4 / math.Sqrt(float64(shape.Elems()/shape[0]))
		case strings.HasSuffix(name, "running_var"):
			v[i] = 1 + 0.5*v[i]
		case strings.HasSuffix(name, "bn.weight"):
			v[i] = 1 + 0.2*v[i]
		default:
			v[i] *= 0.2
		}
		if name == f.spoilt {
			v[i] *= 1.01
		}
	}
	return storage.Values(narrow(v))
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i := range v {
		out[i] = float32(v[i])
	}
	return out
}

// numbers are the first of a name, of -1 to 1: splitmix64 from its CRC-32.
func numbers(name string, count int) []float64 {
	out := make([]float64, count)
	z := uint64(crc32.ChecksumIEEE([]byte(name)))
	for i := range out {
		z += 0x9E3779B97F4A7C15
		x := z
		x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
		x = (x ^ x>>27) * 0x94D049BB133111EB
		out[i] = float64((x^x>>31)>>40)/(1<<23) - 1
	}
	return out
}

// features are the errors of those of some of the golden's pictures, beside
// pytorch-fid's.
func features(t *testing.T, dev engine.Device, f formula, names ...string) map[string]float64 {
	t.Helper()
	m, err := inception.New(weights.Made(f).Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	want := golden{t: t, values: openSet(t, filepath.Join("testdata", "inception.safetensors"))}
	errs := map[string]float64{}
	sizes := map[string][2]int{"small": {75, 107}, "wide": {139, 75}}
	for _, name := range names {
		h, w := sizes[name][0], sizes[name][1]
		v := numbers("in."+name, 3*h*w)
		x := engine.FromF32(make([]float32, 3*h*w), 1, h, w, 3)
		for i := range x.F32() { // torch has the channels first
			x.F32()[i] = float32(v[i%3*h*w+i/3])
		}
		s := engine.NewStream(t.Context(), dev)
		y, err := m.Forward(s, s.Put(x))
		if err != nil {
			t.Fatal(err)
		}
		have, err := s.Get(y)
		if err != nil {
			t.Fatal(err)
		}
		if path := s.Path(); path != "" {
			t.Errorf("the scope %q is open at the end", path)
		}
		if errs[name], err = relative(have, want.tensor("out."+name)); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	return errs
}

// TestInception holds the features against pytorch-fid's, and notices one weight
// of the last block, whose pooling is FID's own.
func TestInception(t *testing.T) {
	errs := features(t, host.New(2), formula{}, "small", "wide")
	hold(t, engine.F32, errs)
	errs = features(t, host.New(2), formula{"Mixed_7c.branch_pool.bn.running_mean"}, "wide")
	if name, e := worst(errs); !(e > 10*bounds[engine.F32]) {
		t.Errorf("changed: worst relative error %.3g (%s)", e, name)
	}
}

// TestInceptionPicture holds what the net is given of pictures against torch's
// interpolation.
func TestInceptionPicture(t *testing.T) {
	want := golden{t: t, values: openSet(t, filepath.Join("testdata", "inception.safetensors"))}
	for name, size := range map[string][2]int{"less": {61, 40}, "more": {417, 300}} {
		m := &pixels.Image{W: size[1], H: size[0]}
		for _, v := range numbers("in."+name, 3*m.W*m.H) {
			m.Pix = append(m.Pix, uint8(min(max(math.RoundToEven((v+1)*127.5), 0), 255)))
		}
		x, err := inception.Picture(m)
		if err != nil {
			t.Fatal(err)
		}
		row, column, sum := make([]float32, 0, 3*299), make([]float32, 0, 3*299), make([]float64, 3)
		for y := range 299 {
			for c := range 299 {
				p := x.F32()[3*(y*299+c):][:3]
				if y == 151 {
					row = append(row, p...)
				}
				if c == 298 {
					column = append(column, p...)
				}
				for k := range sum {
					sum[k] += float64(p[k])
				}
			}
		}
		for part, have := range map[string]*engine.Tensor{"row": engine.FromF32(row, 299, 3), "column": engine.FromF32(column, 299, 3),
			"sum": engine.FromF32(narrow(sum), 3)} {
			if e, err := relative(have, want.tensor("out."+part+"."+name)); err != nil || !(e <= 1e-5) {
				t.Errorf("%s of %s: relative error %.3g, %v", part, name, e, err)
			}
		}
	}
	if _, err := inception.Picture(&pixels.Image{}); err == nil {
		t.Error("no pixels")
	}
}

// TestJudgesRefuse: what does not fit a net is an error that says what would.
func TestJudgesRefuse(t *testing.T) {
	dev := host.New(1)
	s := engine.NewStream(t.Context(), dev)
	g := open(t, "bert_small", "bert")
	b, err := bert.Load(g.config, g.model.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, "vit_small", "vit")
	m, err := vit.Load(v.config, v.model.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	torchvision := append(g.model.Entries(), weights.Entry{Name: "fc.weight", DType: "F32", Shape: engine.Shape{1000, 2048}})
	deeper := weights.Config{"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 80,
		"max_position_embeddings": 20, "vocab_size": 37}
	for name, c := range map[string]struct {
		call func() error
		want string
	}{
		"too long":    {func() error { _, err := b.Forward(s, [][]int32{make([]int32, 21)}); return err }, "21 ids in a row, the model takes 20"},
		"ragged":      {func() error { _, err := b.Forward(s, [][]int32{{1}, {1, 2}}); return err }, "row 1 has 2 ids, row 0 has 1"},
		"unknown id":  {func() error { _, err := b.Embed(s, [][]int32{{1, 37}}); return err }, "row 0 has the id 37, the vocabulary has 37"},
		"no ids":      {func() error { _, err := b.Embed(s, nil); return err }, "no ids"},
		"left layers": {func() error { _, err := bert.Load(deeper, g.model.Loader(dev)); return err }, "has no use for it"},
		"odd sides": {func() error { _, err := m.Forward(s, s.New(engine.F32, 1, 24, 20, 3)); return err },
			"vit: pixels has shape [1 24 20 3], want [N H W 3] of multiples of 8"},
		"torchvision's": {func() error { _, err := inception.New(weights.NewSet(torchvision).Loader(dev)); return err },
			"these are not the weights of FID"},
		"no Inception": {func() error { _, err := inception.New(g.model.Loader(dev)); return err }, "Conv2d_1a_3x3.bn.weight: missing"},
	} {
		if err := c.call(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	i, err := inception.New(weights.Made(formula{}).Loader(engine.DryRunOf(dev)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Forward(s, s.New(engine.F32, 1, 74, 99, 3)); err == nil || !strings.Contains(err.Error(), "75 x 75 at least") {
		t.Errorf("a small picture: %v", err)
	}
}
