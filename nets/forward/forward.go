// Package forward runs one net of a checkpoint on tensors, named and shaped as
// Hugging Face does, so that any of its layers can be held against a reference.
package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"sort"

	"parley/engine"
	"parley/kernels/layout"
	"parley/nets/bert"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/decode"
	"parley/nets/diffusion"
	"parley/nets/inception"
	"parley/nets/models"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/nets/vit"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/safetensors"
)

// Tensors are named inputs or outputs of a net, as Hugging Face names and
// shapes them: pictures and latents are [N, C, H, W].
type Tensors map[string]*engine.Tensor

// Options are what nets need beside tensors.
type Options struct {
	Generate decode.Options    // of blip-generate
	Draw     diffusion.Options // of pipeline; Width and Height 0: the model's
	Seed     uint64            // of pipeline
	Taps     *regexp.Regexp    // outputs of inner modules whose path matches are added as "tap.PATH"
}

// Net is a net that is open, to be run on tensors.
type Net struct {
	name  string
	dev   engine.Device
	close func()
	run   func(*pass) error
}

// pass is one pass through a net.
type pass struct {
	s   *engine.Stream
	in  Tensors
	o   Options
	out Tensors
}

// opener loads what a net needs, and says how it runs and what gives it back.
type opener func(src models.Source, dev engine.Device) (run func(*pass) error, close func(), err error)

// openers are the nets by name.
func openers() map[string]opener {
	return map[string]opener{
		"clip-image":    part("clip", convert.CLIP, clip.Load, clipImage),
		"clip-text":     clipText,
		"blip-vision":   part("blip", convert.BLIP, blip.Load, blipVision),
		"blip-text":     part("blip", convert.BLIP, blip.Load, blipText),
		"blip-generate": part("blip", convert.BLIP, blip.Load, blipGenerate),
		"bert":          part("sbert", convert.BERT, bert.Load, sentence),
		"vit":           part("dino", convert.ViT, vit.Load, vision),
		"inception":     part("inception", convert.Inception, inception.Load, features),
		"unet":          part("unet", convert.UNet, unet.Load, unetStep),
		"vae-decode":    part("vae", convert.VAE, vae.Load, vaeDecode),
		"vae-encode":    part("vae", convert.VAE, vae.Load, vaeEncode),
		"pipeline":      pipeline,
	}
}

// part opens one part of a checkpoint.
func part[T any](folder, name string, build func(weights.Config, *weights.Loader) (T, error), f func(T, *pass) error) opener {
	return func(src models.Source, dev engine.Device) (func(*pass) error, func(), error) {
		m, close, err := models.Load(src, dev, folder, name, build)
		return func(r *pass) error { return f(m, r) }, close, err
	}
}

// Nets are the names that Open knows.
func Nets() []string { return slices.Sorted(maps.Keys(openers())) }

// Open loads what one of Nets needs of a checkpoint.
func Open(name string, src models.Source, dev engine.Device) (*Net, error) {
	open, ok := openers()[name]
	if !ok {
		return nil, fmt.Errorf("net %q: choose one of %v", name, Nets())
	}
	run, close, err := open(src, dev)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Net{name: name, dev: dev, close: close, run: run}, nil
}

// Close gives the weights back.
func (n *Net) Close() { n.close() }

// Run runs the net on tensors.
func (n *Net) Run(run engine.Run, in Tensors, o Options) (Tensors, error) {
	p := &pass{s: run.On(n.dev).Stream(), in: in, o: o, out: Tensors{}}
	defer p.s.Close()
	if o.Taps != nil {
		p.s.Watch(run.Recorder, tapper{p, map[string]int{}})
	}
	if err := n.run(p); err != nil {
		return nil, fmt.Errorf("%s: %w", n.name, err)
	}
	return p.out, p.s.Err()
}

// Once opens a net and runs it once.
func Once(run engine.Run, name string, src models.Source, dev engine.Device, in Tensors, o Options) (Tensors, error) {
	n, err := Open(name, src, dev)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	return n.Run(run, in, o)
}

// tapper keeps what inner modules give. A path that comes again (a step of
// the UNet) gets a number.
type tapper struct {
	r    *pass
	seen map[string]int
}

func (t tapper) Observe(sp engine.Span) {
	if sp.Op != "" || sp.Out == nil || sp.Path == "" || !t.r.o.Taps.MatchString(sp.Path) || sp.Out.DType() == engine.I32 {
		return
	}
	name := "tap." + sp.Path
	if n := t.seen[sp.Path]; n > 0 {
		name = fmt.Sprintf("%s#%d", name, n)
	}
	t.seen[sp.Path]++
	h, err := t.r.s.Get(sp.Out)
	if err != nil {
		t.r.s.Fail(err)
		return
	}
	if len(h.Shape()) == 4 {
		h = layout.ToNCHW(h)
	}
	t.r.out[name] = h
}

// give copies an output to the host; pictures become [N, C, H, W].
func (r *pass) give(name string, t *engine.Tensor) error {
	if t == nil {
		return nil
	}
	h, err := r.s.Get(t)
	if err != nil {
		return err
	}
	if len(h.Shape()) == 4 {
		h = layout.ToNCHW(h)
	}
	r.out[name] = h
	return nil
}

func (r *pass) need(name string, rank int, dtype engine.DType) (*engine.Tensor, error) {
	t, ok := r.in[name]
	if !ok {
		var have []string
		for n := range r.in {
			have = append(have, n)
		}
		sort.Strings(have)
		return nil, fmt.Errorf("no input %q; there is %v", name, have)
	}
	if len(t.Shape()) != rank || t.DType() != dtype || t.Elems() == 0 {
		return nil, fmt.Errorf("input %q is %v of %v, want %d dimensions of %v", name, t.Shape(), t.DType(), rank, dtype)
	}
	return t, nil
}

// map4 is an input of [N, C, H, W] as the nets take it.
func (r *pass) map4(name string) (*engine.Tensor, error) {
	t, err := r.need(name, 4, engine.F32)
	if err != nil {
		return nil, err
	}
	return r.s.Put(layout.ToNHWC(t)), nil
}

func (r *pass) ids(name string) ([][]int32, error) {
	t, err := r.need(name, 2, engine.I32)
	if err != nil {
		return nil, err
	}
	var out [][]int32
	for i := range t.Dim(0) {
		out = append(out, t.I32()[i*t.Dim(1):(i+1)*t.Dim(1)])
	}
	return out, nil
}

func clipImage(m *clip.Model, r *pass) error {
	x, err := r.map4("pixel_values")
	if err != nil {
		return err
	}
	o, err := m.Vision.Forward(r.s, x)
	if err != nil {
		return err
	}
	return errors.Join(r.give("image_embeds", o.Embeds), r.give("pooler_output", o.Pooled), r.give("last_hidden_state", o.Hidden))
}

// clipText takes CLIP's text tower, or Stable Diffusion's text encoder.
func clipText(src models.Source, dev engine.Device) (func(*pass) error, func(), error) {
	var t *clip.Text
	m, close, err := models.Load(src, dev, "clip", convert.CLIP, clip.Load)
	if err == nil {
		t = m.Text
	} else {
		var again error
		if t, close, again = models.Load(src, dev, "text_encoder", convert.TextEncoder, textEncoder); again != nil {
			return nil, nil, err
		}
	}
	return func(r *pass) error {
		ids, err := r.ids("input_ids")
		if err != nil {
			return err
		}
		o, err := t.Forward(r.s, ids, clip.TextOptions{})
		if err != nil {
			return err
		}
		return errors.Join(r.give("text_embeds", o.Embeds), r.give("pooler_output", o.Pooled), r.give("last_hidden_state", o.Hidden))
	}, close, nil
}

// textEncoder is Stable Diffusion's, or a text tower with its projection.
func textEncoder(c weights.Config, l *weights.Loader) (*clip.Text, error) {
	if l.HasIn("text_projection") {
		return clip.LoadProjected(c, l)
	}
	return models.LoadText(c, l)
}

func blipVision(m *blip.Model, r *pass) error {
	x, err := r.map4("pixel_values")
	if err != nil {
		return err
	}
	h, err := m.Vision.Forward(r.s, x)
	if err != nil {
		return err
	}
	return r.give("last_hidden_state", h)
}

func blipText(m *blip.Model, r *pass) error {
	ids, err := r.ids("input_ids")
	if err != nil {
		return err
	}
	e, err := r.need("encoder_hidden_states", 3, engine.F32)
	if err != nil {
		return err
	}
	c, err := m.Text.Start(r.s, r.s.Put(e), len(ids), len(ids[0]))
	if err != nil {
		return err
	}
	logits, err := c.Step(r.s, ids)
	if err != nil {
		return err
	}
	return r.give("logits", logits)
}

func blipGenerate(m *blip.Model, r *pass) error {
	x, err := r.map4("pixel_values")
	if err != nil {
		return err
	}
	ids, err := r.ids("input_ids")
	if err != nil {
		return err
	}
	if len(ids)%x.Dim(0) != 0 {
		return fmt.Errorf("%d rows of input_ids for %d pictures: want as many for each", len(ids), x.Dim(0))
	}
	for i := range ids {
		ids[i] = slices.Clone(ids[i])
		ids[i][0] = m.Text.BOS                                                    // as BlipForConditionalGeneration's generate
		if p := m.Text.PadID; p != m.Text.Sep && slices.Contains(ids[i][1:], p) { // which transformers would mask
			return fmt.Errorf("row %d of input_ids has the id %d, which is padding: want prompts of one length, without it", i, p)
		}
	}
	h, err := m.Vision.Forward(r.s, x)
	if err != nil {
		return err
	}
	o := r.o.Generate
	o.EOS, o.Pad = m.Text.Sep, m.Text.PadID
	if err := o.Check(ids); err != nil {
		return err
	}
	c, err := m.Text.Start(r.s, h, o.Rows(len(ids)), o.MaxLength)
	if err != nil {
		return err
	}
	defer c.Free(r.s)
	texts, err := decode.Generate(r.s, c, ids, o)
	if err != nil {
		return err
	}
	longest := 0
	for _, t := range texts {
		longest = max(longest, len(t.IDs))
	}
	// transformers fills short rows with pad; beam search's with the id that
	// ends a text where pad is 0, which Python takes for none.
	fill := o.Pad
	if o.Beams > 1 && fill == 0 {
		fill = o.EOS
	}
	var flat []int32
	for _, t := range texts {
		flat = append(flat, t.IDs...)
		for range longest - len(t.IDs) {
			flat = append(flat, fill)
		}
	}
	r.out["sequences"] = engine.FromI32(flat, len(texts), longest)
	return nil
}

func sentence(m *bert.Model, r *pass) error {
	ids, err := r.ids("input_ids")
	if err != nil {
		return err
	}
	h, err := m.Forward(r.s, ids)
	if err != nil {
		return err
	}
	return r.give("last_hidden_state", h)
}

func vision(m *vit.Model, r *pass) error {
	x, err := r.map4("pixel_values")
	if err != nil {
		return err
	}
	h, err := m.Forward(r.s, x)
	if err != nil {
		return err
	}
	return r.give("last_hidden_state", h)
}

func features(m *inception.Model, r *pass) error {
	x, err := r.map4("pixel_values")
	if err != nil {
		return err
	}
	y, err := m.Forward(r.s, x)
	if err != nil {
		return err
	}
	return r.give("features", y)
}

func unetStep(m *unet.Model, r *pass) error {
	x, err := r.map4("sample")
	if err != nil {
		return err
	}
	e, err := r.need("encoder_hidden_states", 3, engine.F32)
	if err != nil {
		return err
	}
	t, ok := r.in["timestep"]
	if !ok || t.Elems() != 1 && t.Elems() != x.Dim(0) {
		return fmt.Errorf("input \"timestep\": want one number, or one for each of %d samples", x.Dim(0))
	}
	ts := make([]float64, x.Dim(0))
	for i := range ts {
		j := i % t.Elems()
		if t.DType() == engine.I32 {
			ts[i] = float64(t.I32()[j])
		} else {
			ts[i] = float64(t.F32()[j])
		}
	}
	var cond *engine.Tensor
	if _, ok := r.in["timestep_cond"]; ok {
		if cond, err = r.need("timestep_cond", 2, engine.F32); err != nil {
			return err
		}
		cond = r.s.Put(cond)
	}
	y, err := m.Forward(r.s, x, ts, r.s.Put(e), cond)
	if err != nil {
		return err
	}
	return r.give("sample", y)
}

func vaeDecode(m *vae.Model, r *pass) error {
	z, err := r.map4("latents")
	if err != nil {
		return err
	}
	x, err := m.Decode(r.s, z)
	if err != nil {
		return err
	}
	return r.give("sample", x)
}

func vaeEncode(m *vae.Model, r *pass) error {
	x, err := r.map4("sample")
	if err != nil {
		return err
	}
	z, err := m.Encode(r.s, x)
	if err != nil {
		return err
	}
	return r.give("latent_mean", z)
}

func pipeline(src models.Source, dev engine.Device) (func(*pass) error, func(), error) {
	p, err := models.OpenStableDiffusion(src, dev)
	if err != nil {
		return nil, nil, err
	}
	return func(r *pass) error { return draw(p, r) }, p.Close, nil
}

func draw(p *models.StableDiffusion, r *pass) error {
	o := r.o.Draw
	if o.Width == 0 {
		o.Width = p.Defaults.Width
	}
	if o.Height == 0 {
		o.Height = p.Defaults.Height
	}
	plan, err := p.Pipeline.Plan(o)
	if err != nil {
		return err
	}
	ids, err := r.ids("input_ids")
	if err != nil {
		return err
	}
	var negative [][]int32
	if plan.Guided() {
		if negative, err = r.ids("negative_ids"); err != nil {
			return err
		}
		if len(negative) == 1 {
			for len(negative) < len(ids) {
				negative = append(negative, negative[0])
			}
		}
		if len(negative) != len(ids) || len(negative[0]) != len(ids[0]) {
			return fmt.Errorf("input_ids is %d x %d, negative_ids %d x %d", len(ids), len(ids[0]), len(negative), len(negative[0]))
		}
	}
	// What does not fit is refused before the work.
	if err := p.Fits(r.s.Run(), plan, len(ids)); err != nil {
		return err
	}
	z, _, err := plan.Latents(r.s, diffusion.Batch{IDs: ids, Negative: negative, Noise: diffusion.OneGenerator(r.o.Seed)})
	if err != nil {
		return err
	}
	if err := r.give("latents", z); err != nil {
		return err
	}
	failed := make([]error, len(ids))
	x, err := plan.Decode(r.s, z, failed)
	if err := errors.Join(err, errors.Join(failed...)); err != nil {
		return err
	}
	if err := r.give("image", x); err != nil {
		return err
	}
	for i, v := range r.out["image"].F32() {
		r.out["image"].F32()[i] = min(max(v/2+0.5, 0), 1)
	}
	return nil
}

// ReadTensors takes a file's tensors as inputs: floating-point ones as f32,
// integers as i32.
func ReadTensors(set *weights.Set) (Tensors, error) {
	out := Tensors{}
	for _, e := range set.Entries() {
		switch e.DType {
		case "I64", "I32", "U8", "I8", "I16", "BOOL":
			v, err := integers(e)
			if err != nil {
				return nil, err
			}
			out[e.Name] = engine.FromI32(v, e.Shape...)
		default:
			v, err := weights.F32(e)
			if err != nil {
				return nil, err
			}
			out[e.Name] = engine.FromF32(v, e.Shape...)
		}
	}
	return out, nil
}

func integers(e weights.Entry) ([]int32, error) {
	width := map[string]int{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}[e.DType]
	out := make([]int32, len(e.Data)/width)
	for i := range out {
		b := e.Data[i*width : (i+1)*width]
		var v int64
		for j := width - 1; j >= 0; j-- {
			v = v<<8 | int64(b[j])
		}
		if e.DType[0] == 'I' { // sign
			shift := 64 - 8*width
			v = v << shift >> shift
		}
		if v != int64(int32(v)) {
			return nil, fmt.Errorf("%s: %s: %d is no id", e.File, e.Name, v)
		}
		out[i] = int32(v)
	}
	return out, nil
}

// List is what a safetensors file of tensors holds: in the order of their names,
// ids as torch's i64.
func List(tensors Tensors) []safetensors.Tensor {
	var list []safetensors.Tensor
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		t := tensors[name]
		e := safetensors.Tensor{Name: name, Shape: t.Shape(), DType: "F32"}
		if t.DType() == engine.I32 {
			e.DType = "I64"
			for _, v := range t.I32() {
				e.Data = binary.LittleEndian.AppendUint64(e.Data, uint64(int64(v)))
			}
		} else {
			for _, v := range t.F32() {
				e.Data = binary.LittleEndian.AppendUint32(e.Data, math.Float32bits(v))
			}
		}
		list = append(list, e)
	}
	return list
}
