package workload

import (
	"fmt"

	"parley/bench/random"
	"parley/engine"
	"parley/kernels/cosine"
	"parley/kernels/rgb"
	"parley/nets/clip"
	"parley/nets/decode"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/unet"
	"parley/weights"
)

// size settles the pictures' side, and refuses one that the net does not take.
func (s *Set) size() error {
	own := 0
	switch {
	case s.has("u"):
		own = s.unetConfig.Width * s.factor
	case s.has("v") && s.unetConfig.Width > 0:
		own = s.unetConfig.Width * s.factor
	case s.has("v"):
		own = 512
	case s.Net == "clip-image":
		own = s.clipConfig.Vision.Image
	case s.has("b"):
		own = s.blipConfig.Vision.Image
	}
	switch {
	case s.Size == 0:
		s.Size = own
	case own == 0:
		return fmt.Errorf("size %d: %s sees no pictures", s.Size, s.Net)
	case !s.has("u") && !s.has("v") && s.Size != own:
		return fmt.Errorf("size %d: the pictures of this %s have a side of %d", s.Size, s.Net, own)
	case (s.has("u") || s.has("v")) && s.Size%s.factor != 0:
		return fmt.Errorf("size %d: want a multiple of %d", s.Size, s.factor)
	}
	return nil
}

// latents are those of n pictures.
func (w *Work) latents(n, channels int) *engine.Tensor {
	side := w.Size / w.factor
	return random.Normal(5, 1, n, side, side, channels)
}

// step is a guided one: each sample with and without its text, as in a drawing, or with it
// alone where the net takes the guidance scale.
func step(w *Work, s *engine.Stream) (func() error, error) {
	const length = 77 // of Stable Diffusion's texts
	texts, with := 2*w.Batch, unet.Embeddings{}
	if w.unet.TimeCond > 0 {
		texts, with.Cond = w.Batch, w.unet.GuidanceEmbedding(s, []float64{8.5})
	}
	text := s.Put(random.Normal(3, 1, texts, length, w.unet.Cross))
	c, err := w.unet.Condition(s, []float64{801, 601}, text, with)
	if err != nil {
		return nil, err
	}
	in := unet.Input{Latents: s.Put(w.latents(w.Batch, w.unet.In)), Step: s.Put(engine.FromI32([]int32{1}, 1))}
	return func() error {
		y, err := w.unet.Step(s, c, in)
		s.Free(y)
		return err
	}, nil
}

func decodeVAE(w *Work, s *engine.Stream) (func() error, error) {
	z := s.Put(w.latents(w.Batch, w.vae.Latents))
	return func() error {
		x, err := w.vae.Decode(s, z)
		s.Free(x)
		return err
	}, nil
}

func encodeVAE(w *Work, s *engine.Stream) (func() error, error) {
	x := s.Put(random.Normal(5, 0.5, w.Batch, w.Size, w.Size, 3))
	return func() error {
		z, err := w.vae.Encode(s, x)
		s.Free(z)
		return err
	}, nil
}

// texts are whole rows of tokens.
func texts(s *engine.Stream, t *clip.Text, c clip.TextConfig, n int, o clip.TextOptions) (func() error, error) {
	tokens, ends, err := t.Tokens(random.IDs(c, n))
	if err != nil {
		return nil, err
	}
	x, e := s.Put(tokens), s.Put(ends)
	return func() error {
		out, err := t.Run(s, x, e, o)
		s.Free(out.Hidden, out.Pooled, out.Embeds)
		return err
	}, nil
}

func encodeText(w *Work, s *engine.Stream) (func() error, error) {
	return texts(s, w.text, w.textConfig, w.Batch, clip.TextOptions{HiddenOnly: true})
}

func clipText(w *Work, s *engine.Stream) (func() error, error) {
	return texts(s, w.clip.Text, w.clipConfig.Text, w.Batch, clip.TextOptions{})
}

func clipImage(w *Work, s *engine.Stream) (func() error, error) {
	side := w.clipConfig.Vision.Image
	x := s.Put(random.Normal(1, 1, w.Batch, side, side, 3))
	return func() error {
		o, err := w.clip.Vision.Forward(s, x)
		s.Free(o.Hidden, o.Pooled, o.Embeds)
		return err
	}, nil
}

func blipVision(w *Work, s *engine.Stream) (func() error, error) {
	side := w.blipConfig.Vision.Image
	x := s.Put(random.Normal(1, 1, w.Batch, side, side, 3))
	return func() error {
		y, err := w.blip.Vision.Forward(s, x)
		s.Free(y)
		return err
	}, nil
}

// captions are a picture's, as many as the batch says, each of all its tokens.
func captions(w *Work, s *engine.Stream) (func() error, error) {
	side := w.blipConfig.Vision.Image
	x := s.Put(random.Normal(1, 1, 1, side, side, 3))
	prompt := []int32{int32(w.blipConfig.Text.BOS), 5, 6, 7}
	o := decode.Options{Sample: true, TopP: 0.9, RepetitionPenalty: 1.1, MinLength: w.Tokens, MaxLength: w.Tokens,
		EOS: int32(w.blipConfig.Text.Sep), Pad: int32(w.blipConfig.Text.Pad), Seed: 1}
	var prompts [][]int32
	for i := range w.Batch {
		prompts, o.Subsequences = append(prompts, prompt), append(o.Subsequences, i)
	}
	if err := o.Check(prompts); err != nil {
		return nil, err
	}
	return func() error {
		seen, err := w.blip.Vision.Forward(s, x)
		if err != nil {
			return err
		}
		defer s.Free(seen)
		cache, err := w.blip.Text.Start(s, seen, w.Batch, o.MaxLength)
		if err != nil {
			return err
		}
		defer cache.Free(s)
		_, err = decode.Generate(s, cache, prompts, o)
		return err
	}, nil
}

// draw makes pictures [batch, side, side, 3] of u8.
func (w *Work) draw(s *engine.Stream) (*engine.Tensor, error) {
	p := models.NewPipeline(w.unet, w.vae, w.text, weights.Config{})
	plan, err := p.Plan(diffusion.Options{Steps: w.Steps, Guidance: 7.5, Scheduler: "ddim", Width: w.Size, Height: w.Size})
	if err != nil {
		return nil, err
	}
	ids := random.IDs(w.textConfig, w.Batch)
	z, _, err := plan.Latents(s, diffusion.Batch{IDs: ids, Negative: ids, Noise: diffusion.OneGenerator(1)})
	if err != nil {
		return nil, err
	}
	x, err := p.Decode(s, z)
	if err != nil {
		return nil, err
	}
	y := rgb.Bytes(s, x)
	s.Free(x)
	return y, s.Err()
}

func pipeline(w *Work, s *engine.Stream) (func() error, error) {
	return func() error {
		y, err := w.draw(s)
		if err != nil {
			return err
		}
		_, err = s.Get(y)
		s.Free(y)
		return err
	}, nil
}

// loop is the reconstruction of a picture: it is described, each description is
// drawn, and each drawing is compared with the picture.
func loop(w *Work, s *engine.Stream) (func() error, error) {
	describe, err := captions(w, s)
	if err != nil {
		return nil, err
	}
	process, side := pixels.CLIP(w.clip.Vision.Size()), w.clip.Vision.Size()
	source := s.Put(random.Normal(2, 1, 1, side, side, 3))
	return func() error {
		s.Enter("describe")
		err := describe()
		s.Leave(nil)
		if err != nil {
			return err
		}
		s.Enter("draw")
		drawn, err := w.draw(s)
		s.Leave(nil)
		if err != nil {
			return err
		}
		defer s.Free(drawn)
		var pictures []pixels.Picture
		for i := range w.Batch {
			pictures = append(pictures, pixels.NewDrawn(w.dev, drawn.Rows(i, i+1)))
		}
		s.Enter("judge")
		defer s.Leave(nil)
		x, err := process.Apply(s, pictures)
		if err != nil {
			return err
		}
		a, err := w.clip.Vision.Forward(s, x)
		if err != nil {
			return err
		}
		b, err := w.clip.Vision.Forward(s, source)
		if err != nil {
			return err
		}
		_, _, err = cosine.Similarity(s, a.Embeds, b.Embeds)
		s.Free(x, a.Hidden, a.Pooled, a.Embeds, b.Hidden, b.Pooled, b.Embeds)
		return err
	}, nil
}
