package main

import (
	"fmt"

	"parley/bench/random"
	"parley/engine"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/decode"
)

// rounds is how often what takes long is timed.
func (b *bench) rounds(n int) int {
	if b.small {
		return 1
	}
	return n
}

// captions is BLIP base: K nucleus captions of a picture, 20 ids each with the
// prompt's.
func captions(b *bench) error {
	size, ks := blip.Base(), []int{1, 10}
	if b.small {
		size, ks = random.SmallBLIP(), []int{2}
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	net, err := random.BLIP(size, b.dev)
	if err != nil {
		return err
	}
	for _, n := range []int{1, 16} {
		if b.small && n > 1 {
			break
		}
		s := engine.NewStream(b.ctx, b.dev)
		x := s.Put(random.Normal(1, 1, n, size.Vision.Image, size.Vision.Image, 3))
		t, err := b.timer().Repeated(s, 1, func(int) error {
			y, err := net.Vision.Forward(s, x)
			s.Free(y)
			return err
		})
		s.Close()
		if err != nil {
			return fmt.Errorf("vision: %w", err)
		}
		b.Figure(fmt.Sprintf("vision, batch %d", n), float64(n)/t.Median, "pictures/s", t.Rates(float64(n))...)
	}
	for _, k := range ks {
		o := decode.Options{Sample: true, TopP: 0.9, RepetitionPenalty: 1.1, MinLength: 20, MaxLength: 20, EOS: int32(size.Text.Sep), Seed: 1}
		prompt := []int32{int32(size.Text.BOS), 5, 6, 7}
		var prompts [][]int32
		for i := range k {
			prompts, o.Subsequences = append(prompts, prompt), append(o.Subsequences, i)
		}
		var texts []decode.Text
		t, err := b.timer().Host(b.rounds(3), func() error {
			s := engine.NewStream(b.ctx, b.dev)
			defer s.Close()
			seen, err := net.Vision.Forward(s, s.Put(random.Normal(1, 1, 1, size.Vision.Image, size.Vision.Image, 3)))
			if err != nil {
				return err
			}
			cache, err := net.Text.Start(s, seen, k, o.MaxLength)
			if err != nil {
				return err
			}
			texts, err = decode.Generate(s, cache, prompts, o)
			return err
		})
		if err != nil {
			return fmt.Errorf("captions: %w", err)
		}
		tokens := 0
		for _, x := range texts {
			tokens += len(x.IDs) - len(prompt)
			if len(x.IDs) != o.MaxLength {
				b.Fail("a caption of %d ids, want %d", len(x.IDs), o.MaxLength)
			}
		}
		b.Figure(fmt.Sprintf("%d captions of a picture, by the host's clock", k), 1e3*t.Median, "ms", t.Between(1e3)...)
		b.Figure(fmt.Sprintf("%d captions of a picture, tokens, by the host's clock", k), float64(tokens)/t.Median, "tokens/s",
			t.Rates(float64(tokens))...)
	}
	return nil
}

// embeddings is CLIP B/32.
func embeddings(b *bench) error {
	size, batches := clip.B32(), []int{1, 4, 16, 64, 256}
	if b.small {
		size, batches = random.SmallCLIP(), []int{1, 3}
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	net, err := random.CLIP(size, b.dev)
	if err != nil {
		return err
	}
	for _, n := range batches {
		s := engine.NewStream(b.ctx, b.dev)
		x := s.Put(random.Normal(1, 1, n, size.Vision.Image, size.Vision.Image, 3))
		t, err := b.timer().Repeated(s, 1, func(int) error {
			o, err := net.Vision.Forward(s, x)
			s.Free(o.Hidden, o.Pooled, o.Embeds)
			return err
		})
		if err == nil {
			b.Figure(fmt.Sprintf("images, batch %d", n), float64(n)/t.Median, "images/s", t.Rates(float64(n))...)
			var h *engine.Tensor
			o, e := net.Vision.Forward(s, x)
			if err = e; err == nil {
				if h, err = s.Get(o.Embeds); err == nil {
					err = finite("embeddings", h)
				}
			}
		}
		s.Close()
		if err != nil {
			return fmt.Errorf("%d images: %w", n, err)
		}
		// Ids are brought to the device in the call, so this is the host's clock.
		ids := random.IDs(size.Text, n)
		t, err = b.timer().Host(b.rounds(7), func() error {
			s := engine.NewStream(b.ctx, b.dev)
			defer s.Close()
			o, err := net.Text.Forward(s, ids, clip.TextOptions{})
			if err == nil {
				_, err = s.Get(o.Embeds)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%d texts: %w", n, err)
		}
		b.Figure(fmt.Sprintf("texts, batch %d, by the host's clock", n), float64(n)/t.Median, "texts/s", t.Rates(float64(n))...)
	}
	return nil
}
