package models

import (
	"context"
	"slices"
	"strings"

	"parley/engine"
	"parley/nets/blip"
	"parley/nets/decode"
	"parley/nets/pixels"
	"parley/weights/convert"
	"parley/weights/vocab"
)

// Captioner describes pictures: BLIP.
type Captioner struct {
	Net *blip.Model
	CaptionOptions

	words   *vocab.BERT
	process *pixels.Processor
	device  engine.Device
	weights *engine.Kept
}

// Close gives the weights back. The captioner is of no use after it.
func (c *Captioner) Close() { c.weights.FreeAll() }

// CaptionOptions say how captions are written.
type CaptionOptions struct {
	Prompt string // what every caption begins with, and is left out of it
	decode.Options
}

// Nucleus is the paper's way to many different captions: from the likeliest
// words with 0.9 of the probability, repetitions discouraged.
func Nucleus() CaptionOptions {
	return CaptionOptions{"a picture of ", decode.Options{Sample: true, TopP: 0.9, RepetitionPenalty: 1.1, MinLength: 5, MaxLength: 20}}
}

// Beam is the paper's way to one good caption: beam search of width 3.
func Beam() CaptionOptions {
	return CaptionOptions{"a picture of ", decode.Options{Beams: 3, MinLength: 5, MaxLength: 20}}
}

// Caption is a description and how likely the model finds it (decode.Text).
type Caption struct {
	Text  string
	Score float64
}

// OpenCaptioner loads a BLIP; its captions are by Nucleus.
func OpenCaptioner(src Source, dev engine.Device) (_ *Captioner, err error) {
	if err := fits(src, dev, map[string]string{"blip": convert.BLIP}, nil); err != nil {
		return nil, err
	}
	on, kept := engine.Keep(dev)
	defer func() {
		if err != nil {
			kept.FreeAll()
		}
	}()
	net, err := load(src, on, "blip", convert.BLIP, blip.Load)
	if err != nil {
		return nil, err
	}
	src, _ = src.in("blip")
	c := &Captioner{Net: net, CaptionOptions: Nucleus(), device: dev, weights: kept, process: pixels.BLIP(net.Vision.Size())}
	if !src.file {
		if c.process, err = pixels.ReadProcessor(src.fsys, src.dir, c.process); err != nil {
			return nil, err
		}
	}
	if !src.file && src.has("vocab.txt", "tokenizer.json") {
		c.words, err = vocab.LoadBERT(src.fsys, src.dir)
	} else {
		c.words, err = vocab.DefaultBERT()
	}
	if err != nil {
		return nil, err
	}
	return c, fit(src.String(), c.words.Encode("a picture of"), net.Text.Vocab)
}

// Captions writes k captions of each picture, by chance or as the k best beams.
func (c *Captioner) Captions(ctx context.Context, pictures []pixels.Picture, k int, seed uint64) ([][]Caption, error) {
	o := c.Options
	o.End, o.Pad, o.Seed = c.Net.Text.Sep, c.Net.Text.PadID, seed
	ids := c.words.Encode(c.Prompt)
	prompt := ids[:len(ids)-1] // no [SEP]
	prompt[0] = c.Net.Text.BOS
	each := 1 // rows of a picture
	if o.Sample {
		each = k
	} else if k > 1 {
		o.Beams, o.Keep = max(o.Beams, k), k
	}
	var out [][]Caption
	const chunk = 16 // pictures at once
	for len(pictures) > 0 {
		now := pictures[:min(chunk, len(pictures))]
		pictures = pictures[len(now):]
		texts, err := c.texts(ctx, now, prompt, each, o)
		if err != nil {
			return nil, err
		}
		for i := range now {
			var list []Caption
			for _, t := range texts[i*k : (i+1)*k] {
				list = append(list, Caption{strings.TrimSpace(c.words.Decode(t.IDs[len(prompt):])), t.Score})
			}
			out = append(out, list)
		}
	}
	return out, nil
}

// texts writes behind the prompt in each rows for each picture.
func (c *Captioner) texts(ctx context.Context, pictures []pixels.Picture, prompt []int32, each int, o decode.Options) ([]decode.Text, error) {
	if err := o.Check([][]int32{prompt}); err != nil {
		return nil, err
	}
	s := engine.NewStream(ctx, c.device)
	defer s.Close()
	x, err := c.process.Apply(s, pictures)
	if err != nil {
		return nil, err
	}
	seen, err := c.Net.Vision.Forward(s, x)
	if err != nil {
		return nil, err
	}
	s.Free(x)
	// Many captions of a picture are written some at a time, each from its own
	// stream of chance: the memory is that of some.
	most := max(1, 256/len(pictures))
	out := make([][]decode.Text, len(pictures))
	for lo := 0; lo < each; lo += most {
		some := min(most, each-lo)
		var prompts [][]int32
		o.Streams = nil
		for i := range len(pictures) * some {
			prompts, o.Streams = append(prompts, prompt), append(o.Streams, lo+i%some)
		}
		texts, err := c.write(s, seen, prompts, o)
		if err != nil {
			return nil, err
		}
		n := len(texts) / len(pictures)
		for i := range pictures {
			out[i] = append(out[i], texts[i*n:(i+1)*n]...)
		}
	}
	return slices.Concat(out...), nil
}

func (c *Captioner) write(s *engine.Stream, seen *engine.Tensor, prompts [][]int32, o decode.Options) ([]decode.Text, error) {
	cache, err := c.Net.Text.Start(s, seen, o.Rows(len(prompts)), o.MaxLength)
	if err != nil {
		return nil, err
	}
	defer cache.Free(s)
	return decode.Generate(s, cache, prompts, o)
}
