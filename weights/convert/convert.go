// Package convert brings the names that checkpoints are published under to
// those that transformers 5 and diffusers 0.42 save, which our nets read.
//
// It knows Hugging Face's folders, old ones too, ldm's single files of Stable
// Diffusion 1 and 2, Salesforce's BLIP, OpenAI's CLIP and open_clip.
package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sort"
	"strings"

	"parley/engine"
	"parley/weights"
	"parley/weights/safetensors"
)

// The parts that a checkpoint can hold.
const (
	CLIP        = "clip"
	BLIP        = "blip"
	UNet        = "unet"
	VAE         = "vae"
	TextEncoder = "text_encoder"
)

// UnknownError says that a checkpoint has none of the known layouts.
type UnknownError struct {
	File  string
	Names []string // a few of its tensors
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s: not a checkpoint of CLIP, BLIP or Stable Diffusion; it begins with %s", e.File, strings.Join(e.Names, ", "))
}

// Canonical splits a checkpoint into its parts (CLIP, BLIP, UNet, VAE,
// TextEncoder) under their canonical names. The parts share the data of the
// set, which has to stay open while they are used. Buffers that are no weights
// (position_ids, the noise schedule, EMA copies) are dropped.
func Canonical(set *weights.Set) (map[string]*weights.Set, error) {
	set = unwrapped(set)
	has := func(name string) bool { _, ok := set.Entry(name); return ok }
	under := func(prefix string) bool {
		i := sort.SearchStrings(set.Names(), prefix)
		return i < set.Len() && strings.HasPrefix(set.Names()[i], prefix)
	}
	c := &converter{set: set, about: maps.Clone(set.About), parts: map[string]map[string]weights.Entry{}}
	switch {
	case under("model.diffusion_model."):
		if under("conditioner.embedders.") {
			return nil, fmt.Errorf("%s: a Stable Diffusion XL checkpoint; only 1 and 2 are read", set.Origin())
		}
		c.each("model.diffusion_model.", UNet, ldmUNet(set, "model.diffusion_model."))
		c.each("first_stage_model.", VAE, ldmVAE(set, "first_stage_model."))
		c.each("cond_stage_model.transformer.", TextEncoder, textEncoder)
		if under("cond_stage_model.model.") {
			// The conditioning is the last but one layer's output.
			c.each("cond_stage_model.model.", TextEncoder, openText("", lastBlock(set, "cond_stage_model.model.transformer.resblocks.")))
		}
	case has("input_blocks.0.0.weight"):
		c.each("", UNet, ldmUNet(set, ""))
	case under("decoder.mid.block_1."):
		c.each("", VAE, ldmVAE(set, ""))
	case under("visual_encoder.") && under("text_decoder."):
		c.each("", BLIP, salesforceBLIP)
	case under("visual.layer1."):
		return nil, fmt.Errorf("%s: a CLIP with a ResNet; only vision transformers are read", set.Origin())
	case has("visual.conv1.weight"):
		c.each("", CLIP, openCLIP)
		// OpenAI's archives say their sizes in tensors of these names.
		if !has("input_resolution") && !has("context_length") && !has("vocab_size") {
			if err := c.openConfig(); err != nil {
				return nil, err
			}
		}
	case under("text_decoder.") && under("vision_model."):
		c.each("", BLIP, same)
	case under("vision_model.") && under("text_model."):
		c.each("", CLIP, same)
	case has("conv_in.weight") && under("time_embedding."):
		c.each("", UNet, same)
	case has("decoder.conv_in.weight") && under("decoder.mid_block."):
		c.each("", VAE, hfVAE)
	case has("embeddings.token_embedding.weight"), has("text_model.embeddings.token_embedding.weight"):
		c.each("", TextEncoder, textEncoder)
	default:
		names := set.Names()
		return nil, &UnknownError{File: set.Origin(), Names: names[:min(len(names), 4)]}
	}
	return c.result()
}

// wrapper is what torch's DistributedDataParallel puts before every name.
const wrapper = "module."

// unwrapped is the set without the wrapper; the set itself where a name has
// none.
func unwrapped(set *weights.Set) *weights.Set {
	list := set.Entries()
	for i, e := range list {
		name, ok := strings.CutPrefix(e.Name, wrapper)
		if !ok {
			return set
		}
		list[i].Name = name
	}
	return set.With(list)
}

// rename says where (a part of) a tensor goes.
type rename struct {
	to        string
	third     int  // 1, 2 or 3: that third of the rows (query, key, value)
	transpose bool // a matrix that is applied from the other side
	matrix    bool // [C, C, 1, 1] or [C, C, 1] becomes [C, C]
	scalar    bool // [1] becomes []
}

func same(name string) ([]rename, error) {
	if strings.HasSuffix(name, "position_ids") {
		return nil, nil
	}
	return []rename{{to: name}}, nil
}

func to(name string) ([]rename, error) { return []rename{{to: name}}, nil }

// openConfig keeps what open_clip's own configuration says, which lies beside
// its checkpoints on the Hub.
func (c *converter) openConfig() error {
	model := weights.Config{}
	all, err := c.set.Beside("open_clip_config.json")
	if err == nil && all.Has("model_cfg") {
		model, err = all.Sub("model_cfg")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.about == nil {
		c.about = weights.Config{}
	}
	c.about[openCLIPConfig] = model
	return nil
}

// openCLIPConfig is the key of open_clip's model_cfg in what is known about a
// set; OpenAI's archives have none.
const openCLIPConfig = "open_clip"

// errName is for a name inside a known prefix that no rule knows.
var errName = errors.New("a tensor that this layout does not have")

type converter struct {
	set   *weights.Set
	about weights.Config // of every part
	parts map[string]map[string]weights.Entry
	errs  []error
}

// each renames the tensors under a prefix into a part.
func (c *converter) each(prefix, part string, rule func(string) ([]rename, error)) {
	for _, name := range c.set.Names() {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		e, _ := c.set.Entry(name)
		list, err := rule(rest)
		for _, r := range list {
			if err == nil {
				err = c.put(part, e, r)
			}
		}
		if err != nil && len(c.errs) < 5 {
			c.errs = append(c.errs, fmt.Errorf("%s: %s: %w", e.File, name, err))
		}
	}
}

func (c *converter) put(part string, e weights.Entry, r rename) error {
	width := safetensors.Width(e.DType)
	if size, ok := safetensors.Size(e.DType, e.Shape); !ok || size != len(e.Data) {
		return fmt.Errorf("%s %v does not fill %d bytes", e.DType, e.Shape, len(e.Data))
	}
	switch {
	case r.third > 0:
		if len(e.Shape) == 0 || e.Shape[0]%3 != 0 {
			return fmt.Errorf("have %v, want rows that divide by 3", e.Shape)
		}
		n := len(e.Data) / 3
		e.Data = e.Data[(r.third-1)*n : r.third*n]
		e.Shape = append(engine.Shape{e.Shape[0] / 3}, e.Shape[1:]...)
	case r.transpose:
		if len(e.Shape) != 2 {
			return fmt.Errorf("have %v, want a matrix", e.Shape)
		}
		rows, cols := e.Shape[0], e.Shape[1]
		out := make([]byte, 0, len(e.Data))
		for j := range cols {
			for i := range rows {
				at := (i*cols + j) * width
				out = append(out, e.Data[at:at+width]...)
			}
		}
		e.Data, e.Shape = out, engine.Shape{cols, rows}
	case r.matrix:
		for len(e.Shape) > 2 && e.Shape[len(e.Shape)-1] == 1 {
			e.Shape = e.Shape[:len(e.Shape)-1]
		}
		if len(e.Shape) != 2 {
			return fmt.Errorf("have %v, want [C C], [C C 1] or [C C 1 1]", e.Shape)
		}
	case r.scalar && e.Shape.Equal(engine.Shape{1}):
		e.Shape = engine.Shape{}
	}
	e.Name = r.to
	if c.parts[part] == nil {
		c.parts[part] = map[string]weights.Entry{}
	}
	if _, twice := c.parts[part][r.to]; twice {
		return fmt.Errorf("a second tensor for %s", r.to)
	}
	c.parts[part][r.to] = e
	return nil
}

func (c *converter) result() (map[string]*weights.Set, error) {
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	out := map[string]*weights.Set{}
	for part, entries := range c.parts {
		if part == BLIP {
			untie(entries)
		}
		list := make([]weights.Entry, 0, len(entries))
		for _, e := range entries {
			list = append(list, e)
		}
		out[part] = weights.NewSet(list)
		out[part].About = c.about
	}
	return out, nil
}

// untie drops the copies of tied tensors, as transformers does when it saves.
func untie(m map[string]weights.Entry) {
	for name, twin := range map[string]string{
		"text_decoder.cls.predictions.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
		"text_decoder.cls.predictions.decoder.bias":   "text_decoder.cls.predictions.bias",
	} {
		a, ok1 := m[name]
		b, ok2 := m[twin]
		if ok1 && ok2 && a.DType == b.DType && a.Shape.Equal(b.Shape) && string(a.Data) == string(b.Data) {
			delete(m, name)
		}
	}
}
