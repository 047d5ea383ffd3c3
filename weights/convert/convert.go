// Package convert brings the names that checkpoints are published under to
// those that transformers 5 and diffusers 0.42 save, which our nets read.
//
// It knows Hugging Face's folders, old ones too, ldm's single files of Stable
// Diffusion 1 and 2, Salesforce's BLIP, OpenAI's CLIP and open_clip, BERT, DINO's
// vision transformers and the Inception v3 of FID.
package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"parley/engine"
	"parley/weights"
	"parley/weights/safetensors"
	"parley/weights/vocab"
)

// The parts that a checkpoint can hold.
const (
	CLIP        = "clip"
	BLIP        = "blip"
	UNet        = "unet"
	VAE         = "vae"
	TextEncoder = "text_encoder"
	BERT        = "bert"
	ViT         = "vit"
	Inception   = "inception"
)

// UnknownError says that a checkpoint has none of the known layouts.
type UnknownError struct {
	File  string
	Names []string // a few of its tensors
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s: not a checkpoint of CLIP, BLIP, Stable Diffusion, BERT, ViT or Inception v3; it begins with %s", e.File,
		strings.Join(e.Names, ", "))
}

// Canonical splits a checkpoint into its parts (CLIP, BLIP, UNet, VAE,
// TextEncoder, BERT, ViT, Inception) under their canonical names. The parts share the data of the
// set, which has to stay open while they are used. Buffers that are no weights
// (position_ids, the noise schedule, EMA copies) are dropped. A checkpoint of
// another kind or task is a TaskError.
func Canonical(set *weights.Set) (parts map[string]*weights.Set, err error) {
	err = safetensors.Reading(set.Origin(), func() error {
		parts, err = canonical(set)
		return err
	})
	return parts, err
}

func canonical(set *weights.Set) (map[string]*weights.Set, error) {
	set, err := unwrapped(set)
	if err != nil {
		return nil, err
	}
	if err := refuse(set); err != nil {
		return nil, err
	}
	in := names{set}
	c := &converter{set: set, about: maps.Clone(set.About), parts: map[string]map[string]weights.Entry{}}
	if c.about == nil {
		c.about = weights.Config{}
	}
	c.marks()
	switch {
	case in.under(ldm):
		c.each(ldm, UNet, ldmUNet(set, ldm))
		c.each("first_stage_model.", VAE, ldmVAE(set, "first_stage_model."))
		c.each("cond_stage_model.transformer.", TextEncoder, textEncoder)
		if in.under("cond_stage_model.model.") {
			c.each("cond_stage_model.model.", TextEncoder, openText("", c.unused("cond_stage_model.model.")))
		}
	case in.has("input_blocks.0.0.weight"):
		c.each("", UNet, ldmUNet(set, ""))
	case in.under("decoder.mid.block_1."):
		c.each("", VAE, ldmVAE(set, ""))
	case in.under("visual_encoder.") && in.under("text_decoder."):
		c.each("", BLIP, salesforceBLIP)
	case in.has("visual.conv1.weight"):
		c.each("", CLIP, openCLIP)
		// OpenAI's archives say their sizes in tensors of these names.
		if !in.has("input_resolution") && !in.has("context_length") && !in.has("vocab_size") {
			if err := c.openConfig(); err != nil {
				return nil, err
			}
			c.about[cleaning] = string(vocab.OpenCLIP)
		} else {
			c.about[openAI] = true
			c.about[cleaning] = string(vocab.OpenAI)
		}
	case in.under("text_decoder.") && in.under("vision_model."):
		c.each("", BLIP, captioner)
	case in.under("vision_model.") && (in.under("text_model.") || in.has("visual_projection.weight")):
		c.each("", CLIP, same)
	case in.has("conv_in.weight") && in.under("time_embedding."):
		c.each("", UNet, same)
	case in.has("decoder.conv_in.weight") && in.under("decoder.mid_block."):
		c.each("", VAE, hfVAE)
	case in.has("embeddings.token_embedding.weight"), in.has("text_model.embeddings.token_embedding.weight"):
		c.each("", TextEncoder, textEncoder)
	case in.under("embeddings.word_embeddings."):
		c.each("", BERT, bert)
	case in.under("bert.embeddings.word_embeddings."):
		c.each("bert.", BERT, bert)
	case in.has("embeddings.patch_embeddings.projection.weight"):
		c.each("", ViT, same)
	case in.has("vit.embeddings.patch_embeddings.projection.weight"):
		c.each("vit.", ViT, same)
	case in.has("patch_embed.proj.weight") && in.has("pos_embed"):
		c.each("", ViT, dino)
		c.about[dinoLayout] = true
	case in.has("Conv2d_1a_3x3.conv.weight"):
		c.each("", Inception, same)
	default:
		names := set.Names()
		return nil, &UnknownError{File: set.Origin(), Names: names[:min(len(names), 4)]}
	}
	return c.result()
}

// ldm is what latent-diffusion's names of a UNet begin with.
const ldm = "model.diffusion_model."

// wrapper is what torch's DistributedDataParallel puts before every name, and
// compiled what torch.compile puts before those of a module.
const wrapper, compiled = "module.", "_orig_mod."

// unwrapped is the set without the wrappers; the set itself where there are
// none.
func unwrapped(set *weights.Set) (*weights.Set, error) {
	list := set.Entries()
	all, some := len(list) > 0, false
	for i, e := range list {
		if strings.Contains(e.Name, compiled) {
			list[i].Name, some = strings.ReplaceAll(e.Name, compiled, ""), true
		}
		all = all && strings.HasPrefix(list[i].Name, wrapper)
	}
	if !all && !some {
		return set, nil
	}
	first := map[string]weights.Entry{}
	kept := list[:0]
	for _, e := range list {
		if all {
			e.Name = strings.TrimPrefix(e.Name, wrapper)
		}
		if other, twice := first[e.Name]; twice {
			if !agree(e, other) {
				return nil, fmt.Errorf("%s: two tensors %s that differ, with and without %s", set.Origin(), e.Name, compiled)
			}
			continue
		}
		first[e.Name] = e
		kept = append(kept, e)
	}
	return set.With(kept), nil
}

// agree reports whether two entries hold the same numbers.
func agree(a, b weights.Entry) bool {
	if !a.Shape.Equal(b.Shape) {
		return false
	}
	if a.DType == b.DType {
		return bytes.Equal(a.Data, b.Data)
	}
	x, err1 := weights.F32(a)
	y, err2 := weights.F32(b)
	return err1 == nil && err2 == nil && slices.Equal(x, y)
}

// unused is the block of open_clip's text tower that Stable Diffusion 2 does
// not use: the last of the 24 that the published one has, of which it takes the
// output of the last but one. Files that diffusers' converter has written hold
// the other 23, all of which are used. Of a tower of another size the last is
// left out, too.
func (c *converter) unused(prefix string) int {
	const published = 24
	last := lastBlock(c.set, prefix+"transformer.resblocks.")
	if last >= published-2 {
		return published - 1
	}
	c.set.Note("%s: the last of the text encoder's %d blocks is left out, as of the %d that Stable Diffusion 2 has", c.set.Origin(),
		last+1, published)
	return last
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
	if strings.HasSuffix(name, "position_ids") || name == "v_pred" || name == "ztsnr" {
		return nil, nil // no weights: a buffer, marks
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
	if first, twice := c.parts[part][r.to]; twice {
		if !agree(first, e) {
			return fmt.Errorf("a second tensor for %s, which differs", r.to)
		}
		if safetensors.Width(first.DType) >= width {
			return nil // the same under two styles of names: the wider one is kept
		}
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
		out[part] = c.set.With(list)
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
