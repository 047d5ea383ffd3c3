package main

import (
	"fmt"
	"os"
	"path/filepath"

	"parley/bench/random"
	"parley/bench/roofline"
	"parley/bench/timing"
	"parley/engine"
	"parley/engine/cuda"
	"parley/nets/diffusion"
)

// painter loads a Stable Diffusion 1.5 of random weights. loaded is what of the
// device's memory is taken then, in bytes.
func (b *bench) painter(o cuda.Options) (p *random.SD, loaded int, err error) {
	size, steps := random.SD15(), 50
	if b.small {
		size, steps = random.SmallSD(), 3
	}
	if err = b.openAs(o); err != nil {
		return
	}
	empty, err := b.used()
	if err != nil {
		return
	}
	if p, err = random.StableDiffusion(size, b.dev); err != nil {
		return
	}
	p.Steps = steps
	if loaded, err = b.used(); err == nil {
		b.Figure("weights", float64(loaded-empty)/1e9, "GB")
	}
	return
}

// used is what of the device's memory is taken, in bytes.
func (b *bench) used() (int, error) {
	free, total, err := b.dev.Memory()
	return total - free, err
}

// stableDiffusion is Stable Diffusion 1.5 at 512 x 512, by its parts, as a whole, and a
// step by its launches.
func stableDiffusion(b *bench) error {
	p, loaded, err := b.painter(cuda.Options{})
	if err != nil {
		return err
	}
	if err := b.batch(p, 1, loaded); err != nil {
		b.Fail("one picture: %v", err)
	}
	return b.step(p)
}

// ordered is a guided step whose kernels each start when the one before has ended: what
// programmatic dependent launch gains, and whether it is what fails.
func ordered(b *bench) error {
	p, _, err := b.painter(cuda.Options{Ordered: true})
	if err != nil {
		return err
	}
	step, err := b.guided(b.timer(), p, 1)
	if err != nil {
		return err
	}
	b.Figure("batch 1, guided step without dependent launches", 1e3*step.Median, "ms", step.Between(1e3)...)
	return nil
}

// batches is the same for several pictures at once.
func batches(b *bench) error {
	p, loaded, err := b.painter(cuda.Options{})
	if err != nil {
		return err
	}
	sizes := []int{4, 10}
	if b.small {
		sizes = []int{2}
	}
	for _, n := range sizes {
		if err := b.batch(p, n, loaded); err != nil {
			b.Fail("batch %d: %v", n, err)
		}
		b.dev.Trim()
	}
	return nil
}

// batch measures n pictures at once.
func (b *bench) batch(p *random.SD, n, loaded int) error {
	name := func(s string) string { return fmt.Sprintf("batch %d, %s", n, s) }
	t := b.timer()
	step, err := b.guided(t, p, n)
	if err != nil {
		return err
	}
	b.Figure(name("guided step"), 1e3*step.Median, "ms", step.Between(1e3)...)
	b.Figure(name("guided steps"), 1/step.Median, "steps/s", step.Rates(1)...)
	b.Figure(name("guided steps of a picture"), float64(n)/step.Median, "steps/s", step.Rates(float64(n))...)

	s := engine.NewStream(b.ctx, b.dev)
	defer s.Close()
	z := s.Put(p.Latents(1))
	decode, err := t.Repeated(s, 1, func(int) error {
		x, err := p.VAE.Decode(s, z)
		s.Free(x)
		return err
	})
	if err != nil {
		return fmt.Errorf("vae: %w", err)
	}
	b.Figure(name("vae decode of a picture"), 1e3*decode.Median, "ms", decode.Between(1e3)...)
	s.Free(z)

	ids, none := random.IDs(p.Config.Text, n), random.IDs(p.Config.Text, n)
	var picture *engine.Tensor
	rounds := 2
	if b.small {
		rounds = 1
	}
	whole, err := t.Host(rounds, func() error {
		s := engine.NewStream(b.ctx, b.dev)
		defer s.Close()
		plan, err := p.Pipeline.Plan(p.Options)
		if err != nil {
			return err
		}
		z, _, err := plan.Latents(s, diffusion.Batch{IDs: ids, Negative: none, Noise: diffusion.OneGenerator(1)})
		if err != nil {
			return err
		}
		x, err := p.Pipeline.Decode(s, z)
		if err != nil {
			return err
		}
		picture, err = s.Get(x)
		return err
	})
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if err := finite("pictures", picture); err != nil {
		b.Fail("batch %d: %v", n, err)
	}
	parts := float64(p.Steps)*step.Median + float64(n)*decode.Median
	b.Figure(name(fmt.Sprintf("pipeline of %d steps, by the host's clock", p.Steps)), whole.Median, "s", whole.Between(1)...)
	b.Figure(name("pipeline, of it steps and decoding"), 100*parts/whole.Median, "%")
	b.Figure(name("pictures, by the host's clock"), 60*float64(n)/whole.Median, "pictures/min", whole.Rates(60*float64(n))...)
	used, err := b.used()
	if err != nil {
		return err
	}
	b.Figure(name("memory beside the weights"), float64(used-loaded)/1e9, "GB")
	return nil
}

// guided is the time of the UNet for n pictures, each with and without its text.
func (b *bench) guided(t *timing.Timer, p *random.SD, n int) (timing.Time, error) {
	s := engine.NewStream(b.ctx, b.dev)
	defer s.Close()
	run, err := p.GuidedStep(s, n)
	if err != nil {
		return timing.Time{}, err
	}
	return t.Repeated(s, 1, func(int) error { return run() })
}

// tally is what launches of one kernel sum up to.
type tally struct {
	kernel                  string
	launches                int
	cold, hot, flops, bytes float64
	predicted               float64
}

// step times each launch of a guided step by itself, and says what the sum is
// beside the whole. The table has each launch that differs, with what the model
// predicts for it where it knows the chip.
func (b *bench) step(p *random.SD) error {
	s := engine.NewStream(b.ctx, b.dev)
	defer s.Close()
	run, err := p.GuidedStep(s, 1)
	if err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	g, ops, err := roofline.Follow(b.dev, s, run)
	if err != nil {
		return err
	}
	defer g.Free()
	t := b.timer()
	whole, err := t.Graph(s, g)
	if err != nil {
		return err
	}
	b.Figure("step, whole graph", 1e3*whole.Median, "ms", whole.Between(1e3)...)
	most := 0
	for _, o := range ops {
		most = max(most, timing.Largest(o.Launches, o.Out))
	}
	r, err := t.Rotation(s, most, 0.05)
	if err != nil {
		return err
	}
	predict := b.prediction()
	b.Table("kernel", "grid", "operation", "result", "first", "launches", "cold us", "hot us", "predicted us", "GFLOP", "MB")
	type kind struct {
		measured
		op        roofline.Operation
		launch    int
		count     int
		predicted float64
	}
	var order []*kind
	known := map[string]*kind{}
	for _, o := range ops {
		for i, l := range o.Launches {
			key := fmt.Sprint(l.Kernel, l.Grid, o.Shape, o.Op, o.FLOPs)
			k := known[key]
			if k == nil {
				k = &kind{op: o, launch: i}
				known[key] = k
				order = append(order, k)
			}
			k.count++
		}
	}
	sums, kernels := map[string]*tally{}, []string{}
	var cold, hot float64
	launches, left := 0, 0
	for _, k := range order {
		o, l := k.op, k.op.Launches[k.launch]
		if b.late() {
			left++
			continue
		}
		// A group norm's second launch reads the map again; a product's second one
		// adds partial sums.
		flops, bytes := 0.0, 0.0
		switch {
		case o.Op == "groupnorm":
			bytes = float64(o.Bytes) / float64(len(o.Launches))
		case k.launch == 0:
			flops, bytes = float64(o.FLOPs), float64(o.Bytes)
		}
		if k.measured, err = b.measure(t, s, o.Launches[k.launch:k.launch+1], o.Out, r); err != nil {
			return fmt.Errorf("%s: %w", l.Kernel, err)
		}
		k.predicted = predict(o, k.launch)
		b.Row(l.Kernel, fmt.Sprintf("%dx%dx%d", l.Grid.X, l.Grid.Y, l.Grid.Z), o.Op, o.Shape, o.Path, fmt.Sprint(k.count),
			fmt.Sprintf("%.2f", 1e6*k.cold.Median), fmt.Sprintf("%.2f", 1e6*k.hot.Median), fmt.Sprintf("%.2f", k.predicted),
			fmt.Sprintf("%.3f", flops/1e9), fmt.Sprintf("%.3f", bytes/1e6))
		n := float64(k.count)
		v := sums[l.Kernel]
		if v == nil {
			v = &tally{kernel: l.Kernel}
			sums[l.Kernel] = v
			kernels = append(kernels, l.Kernel)
		}
		v.launches += k.count
		v.cold += n * k.cold.Median
		v.hot += n * k.hot.Median
		v.flops += n * flops
		v.bytes += n * bytes
		v.predicted += n * k.predicted / 1e6
		launches += k.count
		cold += n * k.cold.Median
		hot += n * k.hot.Median
	}
	for _, name := range kernels {
		k := sums[name]
		is := fmt.Sprintf("step, %s, %d launches", name, k.launches)
		b.Figure(is+", cold", 1e3*k.cold, "ms")
		b.Figure(is+", hot", 1e3*k.hot, "ms")
		if k.predicted > 0 {
			b.Figure(is+", predicted", 1e3*k.predicted, "ms")
		}
		if k.flops > 0 {
			b.Figure(is+", cold, products", k.flops/k.cold/1e12, "TFLOP/s")
		}
		if k.bytes > 0 {
			b.Figure(is+", cold, operands and results", k.bytes/k.cold/1e9, "GB/s")
		}
	}
	b.Figure("step, launches", float64(launches), "launches")
	if left > 0 {
		b.Note("%d kinds of launches of the step were left for want of time", left)
		return nil
	}
	b.Figure("step, sum of its launches, cold", 100*cold/whole.Median, "% of the whole")
	b.Figure("step, sum of its launches, hot", 100*hot/whole.Median, "% of the whole")
	if r := cold / whole.Median; b.hardware() && (r < 0.6 || r > 1.2) {
		b.Note("the launches of a step take %.3g ms one by one, %.3g ms as a graph: 0.6 to 1.2 of it were expected", 1e3*cold, 1e3*whole.Median)
	}
	return nil
}

// prediction is the model for the device at hand, in microseconds; 0 where it knows
// too little of it.
func (b *bench) prediction() func(o roofline.Operation, launch int) float64 {
	none := func(roofline.Operation, int) float64 { return 0 }
	c, ok := roofline.Find(b.dev.Info().Name)
	text, err := os.ReadFile(filepath.Join(b.data, "kernels", "RESOURCES.md"))
	if err != nil || !ok {
		return none
	}
	r, err := roofline.ReadResources(text)
	if err != nil {
		b.Note("no predictions: %v", err)
		return none
	}
	return func(o roofline.Operation, launch int) float64 {
		f, err := c.Predict(r, o, launch)
		if err != nil {
			return 0
		}
		return f.Time
	}
}
