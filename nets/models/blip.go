package models

import (
	"fmt"
	"slices"
	"strings"

	"parley/engine"
	"parley/nets/blip"
	"parley/nets/decode"
	"parley/nets/finite"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/convert"
	"parley/weights/vocab"
)

// BLIP describes pictures. It is immutable and serves several runs at a time.
type BLIP struct {
	Net *blip.Model

	tokens  *vocab.BERT
	process *pixels.Processor
	device  engine.Device
	files   *files
	weights *engine.AllocationScope
}

// CaptionOptions say how captions are written.
type CaptionOptions struct {
	Prompt     string // what every caption begins with, and is left out of it
	KeepPrompt bool   // it is not left out
	decode.Options
}

// Nucleus is the paper's way to many different captions: from the likeliest
// tokens with 0.9 of the probability, repetitions discouraged.
func Nucleus() CaptionOptions {
	return CaptionOptions{Prompt: "a picture of ", Options: decode.Options{Sample: true, TopP: 0.9, RepetitionPenalty: 1.1, MinLength: 5,
		MaxLength: 20}}
}

// Beam is the paper's way to one good caption: beam search of width 3.
func Beam() CaptionOptions {
	return CaptionOptions{Prompt: "a picture of ", Options: decode.Options{Beams: 3, MinLength: 5, MaxLength: 20}}
}

// OpenBLIP loads a BLIP.
func OpenBLIP(src Source, dev engine.Device) (_ *BLIP, err error) {
	f := src.open()
	defer f.closeUnless(&err)
	if err := f.fits(dev, map[string]string{"blip": convert.BLIP}, nil); err != nil {
		return nil, err
	}
	on, scope := engine.Scope(dev)
	defer freeUnless(scope, &err)
	net, err := load(f, on, "blip", convert.BLIP, blip.Load)
	if err != nil {
		return nil, err
	}
	src, _ = src.in("blip")
	b := &BLIP{Net: net, device: dev, files: f, weights: scope, process: pixels.BLIP(net.Vision.Size())}
	if !src.file {
		if b.process, err = pixels.ReadProcessor(src.fsys, src.dir, b.process); err != nil {
			return nil, err
		}
	}
	if !src.file && src.has("vocab.txt", "tokenizer.json") {
		b.tokens, err = vocab.LoadBERT(src.fsys, src.dir)
	} else {
		b.tokens, err = vocab.DefaultBERT()
	}
	if err != nil {
		return nil, err
	}
	return b, covers(src.String(), b.tokens.Encode("a picture of"), net.Text.Vocab)
}

// Close gives the weights back. The model is of no use after it.
func (b *BLIP) Close() {
	b.weights.FreeAll()
	b.files.Close()
}

// Caption writes k captions of each picture, sampled from the picture's own seed
// or as the k best beams. One whose numbers were not finite has an error in its
// place.
func (b *BLIP) Caption(run engine.Run, pictures []pixels.Picture, k int, seeds []uint64, c CaptionOptions) ([][]rerank.Caption, error) {
	if len(seeds) != len(pictures) {
		return nil, fmt.Errorf("%d pictures and %d seeds", len(pictures), len(seeds))
	}
	o := c.Options
	o.EOS, o.Pad = b.Net.Text.Sep, b.Net.Text.PadID
	ids := b.tokens.Encode(c.Prompt)
	prompt := ids[:len(ids)-1] // no [SEP]
	prompt[0] = b.Net.Text.BOS
	from := len(prompt) // of a caption
	if c.KeepPrompt {
		from = 1 // behind BOS
	}
	rows := 1 // of a picture
	if o.Sample {
		rows = k
	} else if k > 1 {
		o.Beams, o.Keep = max(o.Beams, k), k
	}
	var out [][]rerank.Caption
	const batch = 16 // pictures at once
	for lo := 0; lo < len(pictures); lo += batch {
		hi := min(lo+batch, len(pictures))
		texts, err := b.write(run.On(b.device), pictures[lo:hi], prompt, rows, seeds[lo:hi], o)
		if err != nil {
			return nil, err
		}
		for i := range hi - lo {
			var list []rerank.Caption
			var failed error
			for _, t := range texts[i*k : (i+1)*k] {
				if t.Err != nil {
					if failed == nil {
						failed = finite.Find(run.On(b.device), "BLIP", func(run engine.Run) error {
							_, err := b.write(run, pictures[lo+i:lo+i+1], prompt, rows, seeds[lo+i:lo+i+1], o)
							return err
						})
					}
					list = append(list, rerank.Caption{Err: failed})
					continue
				}
				list = append(list, rerank.Caption{Text: strings.TrimSpace(b.tokens.Decode(t.IDs[from:])), Score: t.Score})
			}
			out = append(out, list)
		}
	}
	return out, nil
}

// write continues the prompt in so many rows for each picture.
func (b *BLIP) write(run engine.Run, pictures []pixels.Picture, prompt []int32, rows int, seeds []uint64,
	o decode.Options) ([]decode.Text, error) {
	if err := o.Check([][]int32{prompt}); err != nil {
		return nil, err
	}
	s := run.Stream()
	defer s.Close()
	x, err := b.process.Apply(s, pictures)
	if err != nil {
		return nil, err
	}
	hidden, err := b.Net.Vision.Forward(s, x)
	if err != nil {
		return nil, err
	}
	s.Free(x)
	// Many captions of a picture are written some at a time, each with its own
	// subsequence of random numbers: the memory is that of some.
	most := max(1, 256/len(pictures))
	out := make([][]decode.Text, len(pictures))
	for lo := 0; lo < rows; lo += most {
		some := min(most, rows-lo)
		var prompts [][]int32
		o.Subsequences, o.Seeds = nil, nil
		for i := range len(pictures) * some {
			prompts = append(prompts, prompt)
			o.Subsequences, o.Seeds = append(o.Subsequences, lo+i%some), append(o.Seeds, seeds[i/some])
		}
		texts, err := b.generate(s, hidden, prompts, o)
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

func (b *BLIP) generate(s *engine.Stream, hidden *engine.Tensor, prompts [][]int32, o decode.Options) ([]decode.Text, error) {
	cache, err := b.Net.Text.Start(s, hidden, o.Rows(len(prompts)), o.MaxLength)
	if err != nil {
		return nil, err
	}
	defer cache.Free(s)
	return decode.Generate(s, cache, prompts, o)
}

// Captioner is the model with options, as the reconstructions take it.
func (b *BLIP) Captioner(o CaptionOptions) rerank.Captioner { return captioner{b, o} }

type captioner struct {
	*BLIP
	o CaptionOptions
}

func (c captioner) Caption(run engine.Run, pictures []pixels.Picture, k int, seeds []uint64) ([][]rerank.Caption, error) {
	return c.BLIP.Caption(run, pictures, k, seeds, c.o)
}
