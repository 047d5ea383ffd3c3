package unet

import (
	"fmt"
	"math"

	"parley/engine"
	"parley/kernels/elementwise"
	"parley/kernels/embed"
	"parley/kernels/layout"
	"parley/kernels/matmul"
	"parley/nets/layer"
	"parley/weights"
)

// Conditions are what the steps of a drawing share: what each residual block adds
// for each timestep, and the text's keys and values for each cross-attention, both
// by the module's path. They serve one stream.
type Conditions struct {
	texts      int                       // N
	timesteps  int                       // T
	added      int                       // rows of the added embedding; 1 without
	keysValues map[string]*engine.Tensor // by cross-attention, [N, L, 2 inner]

	kept []*engine.Tensor // all of keysValues and of enlarge

	enlarge map[[5]int]*engine.Tensor // see nearest

	table    *engine.Tensor // [T or added*T, channels of all residual blocks] in units, see join
	places   []place        // where each block's channels are in a row of the table
	channels int            // of a row

	temb  map[string]*engine.Tensor // by residual block, what this pass adds: [1 or samples, channels]
	owned []*engine.Tensor          // what this pass gives back
}

// place is a residual block's part of a row of the table, in elements.
type place struct {
	path         string
	at, channels int
}

// Embeddings are what is embedded beside the timesteps. The zero value is nothing.
type Embeddings struct {
	// Cond [P, TimeCond], unless it is nil, is diffusers' timestep_cond: row i mod P is
	// projected and added to the i-th timestep's sinusoids. See GuidanceEmbedding.
	Cond *engine.Tensor
	// Added [1 or N, 4 Width], unless it is nil, is added to the timestep's embedding
	// before its SiLU, as SDXL's of sizes and of the pooled text.
	Added *engine.Tensor
}

// timestep embeds timesteps: sinusoids, and two layers.
type timestep struct {
	width            int
	sinusoids        embed.Sinusoids
	cond             *layer.Linear // of Embeddings.Cond; nil without
	linear1, linear2 layer.Linear
}

func newTimestep(c *Config, l *weights.Loader) timestep {
	p := l.In("time_embedding")
	width := c.Channels[0]
	t := timestep{width: width, sinusoids: embed.Sinusoids{SineFirst: c.SineFirst, Shift: c.Shift},
		linear1: layer.LoadLinear(p, "linear_1", width, 4*width),
		linear2: layer.LoadLinear(p, "linear_2", 4*width, 4*width)}
	if c.TimeCond > 0 {
		cond := layer.LoadLinear(p, "cond_proj", c.TimeCond, width)
		t.cond = &cond
	}
	return t
}

// forward is silu(embedding + added) of each timestep, [T, temb], which is what the
// residual blocks project. Row p of added [P, temb], unless it is nil, is for the
// p-th of P even parts of the timesteps; rows of cond repeat, see Embeddings.
func (t *timestep) forward(s *engine.Stream, timesteps []float64, e Embeddings) *engine.Tensor {
	s.Enter("time_embedding")
	sin := embed.Timesteps(s, timesteps, t.width, t.sinusoids)
	if e.Cond != nil {
		cond := repeat(s, e.Cond, len(timesteps))
		y := t.cond.Fused(s, cond, matmul.None, sin)
		s.Free(sin)
		if cond != e.Cond {
			s.Free(cond)
		}
		sin = y
	}
	h := t.linear1.Fused(s, sin, matmul.SiLU, nil)
	y := t.linear2.Added(s, h, e.Added, matmul.SiLU)
	s.Leave(nil)
	s.Free(sin, h)
	return y
}

// repeat is x [P, c] again and again up to n rows, or x itself where it has them.
func repeat(s *engine.Stream, x *engine.Tensor, n int) *engine.Tensor {
	p := x.Dim(0)
	if p == n {
		return x
	}
	y := s.New(x.DType(), n, x.Dim(1))
	for i := 0; i < n; i += p {
		s.Copy(y.Rows(i, i+p), x)
	}
	return y
}

// GuidanceEmbedding is Embeddings.Cond of guidance scales: [len(scales), TimeCond],
// sines of w = scale - 1 in thousandths times falling frequencies, then cosines
// (diffusers' get_guidance_scale_embedding). It counts in float32, as torch: w
// multiplies the frequencies' rounding.
func (e *Encoder) GuidanceEmbedding(s *engine.Stream, scales []float64) *engine.Tensor {
	dim, half := e.TimeCond, e.TimeCond/2
	y := engine.FromF32(make([]float32, len(scales)*dim), len(scales), dim)
	fall := float32(math.Log(10000)) / float32(half-1)
	for i, scale := range scales {
		w, row := float32(scale-1)*1000, y.F32()[i*dim:(i+1)*dim]
		for j := range half {
			sin, cos := math.Sincos(float64(w * float32(math.Exp(float64(float32(j)*-fall)))))
			row[j], row[half+j] = float32(sin), float32(cos)
		}
	}
	return s.Put(y)
}

// Row is the number that Input.Step holds for a timestep, counted from 0 in the
// order of Condition, of a sample. Without an added embedding for each text it is
// the same for all samples.
func (c *Conditions) Row(step, sample int) int32 { return int32(sample%c.added*c.timesteps + step) }

// conditions are Conditions for the blocks that are named.
func (e *Encoder) conditions(
	s *engine.Stream, blocks []*block, timesteps []float64, context *engine.Tensor, with Embeddings,
) (*Conditions, error) {
	c, err := e.project(s, blocks, timesteps, context, with)
	if err != nil {
		return nil, err
	}
	c.join(s, blocks)
	s.Free(c.owned...)
	c.owned = nil
	return c, s.Err()
}

// project runs what the conditions are made by. What the residual blocks add lies
// in temb, [added*T, channels] each, and is owned.
func (e *Encoder) project(
	s *engine.Stream, blocks []*block, timesteps []float64, context *engine.Tensor, with Embeddings,
) (*Conditions, error) {
	if sh := context.Shape(); len(sh) != 3 || sh[2] != e.Cross || sh.Elems() == 0 {
		return nil, &layer.ShapeError{Net: "unet", Input: "encoder_hidden_states", Have: sh, Want: fmt.Sprintf("[N L %d]", e.Cross)}
	}
	if len(timesteps) == 0 {
		return nil, fmt.Errorf("unet: no timestep")
	}
	if x := with.Cond; x != nil {
		switch sh := x.Shape(); {
		case e.TimeCond == 0:
			return nil, fmt.Errorf("unet: timestep_cond is for a net whose time_cond_proj_dim is set")
		case len(sh) != 2 || sh[1] != e.TimeCond || sh[0] == 0 || len(timesteps)%sh[0] != 0:
			return nil, &layer.ShapeError{Net: "unet", Input: "timestep_cond", Have: sh, Want: fmt.Sprintf("[%d %d]", len(timesteps), e.TimeCond)}
		}
	}
	c := &Conditions{texts: context.Dim(0), timesteps: len(timesteps), added: 1,
		keysValues: map[string]*engine.Tensor{}, temb: map[string]*engine.Tensor{}}
	all := timesteps
	if with.Added != nil {
		sh := with.Added.Shape()
		if len(sh) != 2 || sh[1] != 4*e.Width || sh[0] != 1 && sh[0] != c.texts {
			return nil, &layer.ShapeError{Net: "unet", Input: "added embedding", Have: sh,
				Want: fmt.Sprintf("[1 %d] or [%d %d]", 4*e.Width, c.texts, 4*e.Width)}
		}
		c.added = sh[0]
		all = make([]float64, 0, c.added*len(timesteps))
		for range c.added {
			all = append(all, timesteps...)
		}
	}
	// 1. The timestep's embedding, and its projection by each residual block.
	temb := e.timestep.forward(s, all, with)
	for _, b := range blocks {
		for i := range b.resnets {
			r := &b.resnets[i]
			s.Enter(r.path)
			y := r.project.Forward(s, temb)
			s.Leave(nil)
			c.temb[r.path] = y
			c.owned = append(c.owned, y)
		}
	}
	s.Free(temb)
	// 2. The text's keys and values for each cross-attention.
	for _, b := range blocks {
		for i := range b.attns {
			for j := range b.attns[i].blocks {
				t := &b.attns[i].blocks[j]
				s.Enter(t.crossPath)
				y := t.cross.KeysValues(s, context)
				s.Leave(nil)
				c.keysValues[t.crossPath] = y
				c.kept = append(c.kept, y)
			}
		}
	}
	return c, s.Err()
}

// join puts what the residual blocks add side by side in the table, so that one
// look-up finds a row of all: [T, n, unit]. The unit divides all their widths. Those
// of whole fours come first: they are read four at a time.
func (c *Conditions) join(s *engine.Stream, blocks []*block) {
	unit := 0
	for _, b := range blocks {
		for i := range b.resnets {
			n := b.resnets[i].channels
			c.channels += n
			for unit, n = n, unit; n != 0; unit, n = n, unit%n { // the greatest common divisor
			}
		}
	}
	rows := c.added * c.timesteps
	c.table = s.New(s.Float(), rows, c.channels/unit, unit)
	next := 0
	for _, fours := range []bool{true, false} {
		for _, b := range blocks {
			for i := range b.resnets {
				r := &b.resnets[i]
				if (r.channels%4 == 0) != fours {
					continue
				}
				embed.Append(s, c.table, s.View(c.temb[r.path], rows, r.channels/unit, unit), next/unit, nil)
				c.places = append(c.places, place{r.path, next, r.channels})
				next += r.channels
			}
		}
	}
}

// at looks up what the residual blocks add in a pass.
func (c *Conditions) at(s *engine.Stream, in Input) error {
	samples, rows := in.Latents.Dim(0), in.Step.Elems()
	if rows != 1 && rows != samples || in.Step.DType() != engine.I32 {
		return fmt.Errorf("unet: %d step indices of %v for %d samples: want one, or one for each, of %v",
			rows, in.Step.DType(), samples, engine.I32)
	}
	if c.added > 1 && (rows != c.texts || samples != c.texts) {
		return fmt.Errorf("unet: an embedding added for each of %d texts needs latents and a step index for each: have %d and %d",
			c.texts, samples, rows)
	}
	row := embed.Rows(s, c.table, in.Step)
	if rows == 1 {
		flat := s.View(row, c.channels)
		for _, p := range c.places {
			c.temb[p.path] = s.View(s.Rows(flat, p.at, p.at+p.channels), 1, p.channels)
		}
		c.owned = append(c.owned, row)
		return nil
	}
	if wide := c.expand(s, row); wide != row {
		s.Free(row)
		row = wide
	}
	flat := s.View(row, c.texts, c.channels)
	for _, p := range c.places {
		y := layout.Channels(s, flat, p.at, p.at+p.channels)
		c.temb[p.path] = y
		c.owned = append(c.owned, y)
	}
	s.Free(row)
	return nil
}

// leave gives back what at has looked up.
func (c *Conditions) leave(s *engine.Stream) {
	s.Free(c.owned...)
	c.owned = c.owned[:0]
}

// nearest is, for each pixel of maps of h x w, the number of the nearest one of x
// [N, H, W, C], as torch's interpolate counts: i32 [N h w]. It is uploaded once, by
// the first pass, which is never in a graph.
func (c *Conditions) nearest(s *engine.Stream, x *engine.Tensor, h, w int) *engine.Tensor {
	n, from, across := x.Dim(0), x.Dim(1), x.Dim(2)
	key := [5]int{n, from, across, h, w}
	if t := c.enlarge[key]; t != nil {
		return t
	}
	at := make([]int32, 0, n*h*w)
	for i := range n {
		for y := range h {
			row := (i*from + source(y, from, h)) * across
			for z := range w {
				at = append(at, int32(row+source(z, across, w)))
			}
		}
	}
	t := s.PutAs(engine.I32, engine.FromI32(at, len(at)))
	if c.enlarge == nil {
		c.enlarge = map[[5]int]*engine.Tensor{}
	}
	c.enlarge[key] = t
	c.kept = append(c.kept, t)
	return t
}

// source is where pixel i of a side of n comes from on a side of so many.
func source(i, from, n int) int { return min(int(float32(i)*(float32(from)/float32(n))), from-1) }

// tembOf is what a residual block adds to so many samples.
func (c *Conditions) tembOf(s *engine.Stream, path string, samples int) *engine.Tensor {
	y := c.temb[path]
	if y.Dim(0) <= samples {
		return y
	}
	return s.Rows(y, 0, samples)
}

// expand repeats maps [M, ...] to one for each text: until the first
// cross-attention, samples of the same latents are one.
func (c *Conditions) expand(s *engine.Stream, x *engine.Tensor) *engine.Tensor {
	m := x.Dim(0)
	if m == c.texts {
		return x
	}
	var dims [4]int
	shape := dims[:copy(dims[:], x.Shape())]
	shape[0] = c.texts
	y := s.New(x.DType(), shape...)
	for i := 0; i < c.texts; i += m {
		elementwise.Scale(s, s.Rows(y, i, i+m), x, 1)
	}
	return y
}

// Free gives the memory back.
func (c *Conditions) Free(s *engine.Stream) {
	s.Free(c.table)
	c.leave(s)
	s.Free(c.kept...)
}
