package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"parley/bench/random"
	"parley/bench/roofline"
	"parley/bench/timing"
	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/matmul"
	"parley/nets/blip"
	"parley/nets/clip"
)

// tune times every plan of every product that the nets have, and every variant of
// every attention, cold and hot, beside the one that is chosen. The table is for the
// constants of a plan; a plan whose result is not the chosen one's is a failure.
func tune(b *bench) error {
	if err := b.open(engine.F16); err != nil {
		return err
	}
	b.Table("net", "launches", "op", "m", "n", "k", "kernel", "splits", "blocks", "chosen", "cold us", "hot us", "cold TFLOP/s")
	done := map[string]bool{}
	for _, net := range b.nets() {
		if b.late() {
			b.Note("%s was left for want of time", net.name)
			continue
		}
		if err := b.tuneNet(net, done); err != nil {
			b.Fail("%s: %v", net.name, err)
		}
		b.dev.Trim()
	}
	return nil
}

// net is one whose operations are tuned.
type net struct {
	name string
	load func(s *engine.Stream) (run func() error, err error)
}

// nets are those of the loop, what takes longest first.
func (b *bench) nets() []net {
	sd, captioner, judge, pairs := random.SD15(), blip.Base(), clip.B32(), 10
	if b.small {
		sd, captioner, judge, pairs = random.SmallSD(), random.SmallBLIP(), random.SmallCLIP(), 2
	}
	step := func(n int) func(s *engine.Stream) (func() error, error) {
		return func(s *engine.Stream) (func() error, error) {
			p, err := random.StableDiffusion(sd, b.dev)
			if err != nil {
				return nil, err
			}
			return p.GuidedStep(s, n)
		}
	}
	l := []net{
		{"unet, 1 picture", step(1)},
		{"vae", func(s *engine.Stream) (func() error, error) {
			p, err := random.StableDiffusion(sd, b.dev)
			if err != nil {
				return nil, err
			}
			z := s.Put(p.Latents(1))
			return func() error {
				x, err := p.VAE.Decode(s, z)
				s.Free(x)
				return err
			}, nil
		}},
		{fmt.Sprintf("unet, %d pictures", pairs), step(pairs)},
		{"blip vision", func(s *engine.Stream) (func() error, error) {
			n, err := random.BLIP(captioner, b.dev)
			if err != nil {
				return nil, err
			}
			x := s.Put(random.Normal(1, 1, 1, captioner.Vision.Image, captioner.Vision.Image, 3))
			return func() error {
				y, err := n.Vision.Forward(s, x)
				s.Free(y)
				return err
			}, nil
		}},
		{"clip vision, 16 pictures", func(s *engine.Stream) (func() error, error) {
			n, err := random.CLIP(judge, b.dev)
			if err != nil {
				return nil, err
			}
			x := s.Put(random.Normal(1, 1, 16, judge.Vision.Image, judge.Vision.Image, 3))
			return func() error {
				o, err := n.Vision.Forward(s, x)
				s.Free(o.Hidden, o.Pooled, o.Embeds)
				return err
			}, nil
		}},
	}
	if b.small {
		l = l[:1]
	}
	return l
}

// variant is a launch in the place of another.
type variant struct {
	cuda.Launched
	splits int
	shares int // elements of f32 that it needs for its partial sums
}

// subject is an operation whose launch has variants.
type subject struct {
	op, m, n, k string // as in the table
	flops       float64
	launch      cuda.Launched
	out         *engine.Tensor
	count       int
	sums        int // the argument with the partial sums, -1 for none
	variants    []variant
}

// inputs are the arguments that the launch reads numbers from.
func (v subject) inputs() (l []int) {
	for i, a := range v.launch.Args {
		t, ok := a.(*engine.Tensor)
		if ok && t != nil && i != v.sums && i != resultAt(v.launch) && (t.DType() == engine.F16 || t.DType() == engine.F32) {
			l = append(l, i)
		}
	}
	return l
}

func (b *bench) tuneNet(net net, done map[string]bool) error {
	s := engine.NewStream(b.ctx, b.dev)
	defer s.Close()
	run, err := net.load(s)
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
	var order []*subject
	at, most, sums := map[string]*subject{}, 0, 0
	for _, o := range ops {
		for _, l := range o.Launches {
			v, ok := subjectOf(l)
			if !ok {
				continue
			}
			key := strings.Join([]string{v.op, v.m, v.n, v.k}, " ")
			if at[key] == nil {
				if done[key] {
					continue
				}
				done[key] = true
				v.out = o.Out
				at[key] = &v
				order = append(order, &v)
				for _, i := range v.inputs() {
					most = max(most, l.Args[i].(*engine.Tensor).Bytes())
				}
				for _, w := range v.variants {
					sums = max(sums, w.shares)
				}
			}
			at[key].count++
		}
	}
	slices.SortStableFunc(order, func(x, y *subject) int {
		a, c := float64(x.count)*x.flops, float64(y.count)*y.flops
		switch {
		case a > c:
			return -1
		case a < c:
			return 1
		}
		return 0
	})
	t := b.timer()
	r, err := t.Rotation(s, most, 0.05)
	if err != nil {
		return err
	}
	if b.small { // a few of each kind
		order = order[:min(5, len(order))]
		for _, v := range order {
			v.variants = slices.DeleteFunc(v.variants, func(w variant) bool {
				return w.splits > 2 && !(w.Kernel == v.launch.Kernel && w.Grid == v.launch.Grid)
			})
		}
	}
	workspace := s.New(engine.F32, max(sums, 1))
	if err := s.Err(); err != nil {
		return err
	}
	for i, v := range order {
		if b.late() {
			b.Note("%s: %d of %d operations were left for want of time", net.name, len(order)-i, len(order))
			return nil
		}
		if err := b.tuneOne(net.name, s, t, r, workspace, v); err != nil {
			b.Fail("%s: %s %s x %s x %s: %v", net.name, v.op, v.m, v.n, v.k, err)
			if s.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// tuneOne times the variants of one operation.
func (b *bench) tuneOne(net string, s *engine.Stream, t *timing.Timer, r *timing.Rotation, workspace *engine.Tensor, v *subject) error {
	// The activations have been written over by what came after: all operands are
	// random numbers, the same for every variant.
	v.launch.Args = slices.Clone(v.launch.Args)
	for i, a := range v.inputs() {
		v.launch.Args[a] = r.Copy(v.launch.Args[a].(*engine.Tensor), i)
	}
	result, err := b.resultOf(s, v.launch)
	if err != nil {
		return err
	}
	quick := *t
	quick.Warmup, quick.Rounds = min(t.Warmup, 3*time.Millisecond), min(t.Rounds, 5)
	type found struct {
		variant
		measured
		chosen bool
	}
	var all []found
	for i, w := range v.variants {
		w.Args = slices.Clone(v.launch.Args)
		if v.sums >= 0 {
			w.Args[v.sums] = (*engine.Tensor)(nil)
			if w.shares > 0 {
				w.Args[v.sums] = engine.NewTensor(engine.F32, workspace.Memory(), w.shares)
			}
		}
		have, err := b.resultOf(s, w.Launched)
		if err != nil {
			return fmt.Errorf("%s, %d splits: %w", w.Kernel, w.splits, err)
		}
		if e := distance(have, result); !(e <= 5e-3) {
			b.Fail("%s: %s %s x %s x %s: %s with %d splits differs by %.3g from %s", net, v.op, v.m, v.n, v.k, w.Kernel, w.splits, e,
				v.launch.Kernel)
			continue
		}
		timer := &quick
		if i == 0 {
			timer = t // the card is warm for the others then
		}
		m, err := b.measure(timer, s, []cuda.Launched{w.Launched}, v.out, r)
		if err != nil {
			return fmt.Errorf("%s, %d splits: %w", w.Kernel, w.splits, err)
		}
		f := found{w, m, w.Kernel == v.launch.Kernel && w.Grid == v.launch.Grid}
		all = append(all, f)
		chosen := ""
		if f.chosen {
			chosen = "1"
		}
		b.Row(net, fmt.Sprint(v.count), v.op, v.m, v.n, v.k, w.Kernel, fmt.Sprint(w.splits), fmt.Sprint(w.Grid.X), chosen,
			fmt.Sprintf("%.2f", 1e6*m.cold.Median), fmt.Sprintf("%.2f", 1e6*m.hot.Median), fmt.Sprintf("%.1f", v.flops/m.cold.Median/1e12))
	}
	if len(all) == 0 {
		return nil
	}
	name := fmt.Sprintf("%s, %s %s x %s x %s, %d launches", net, v.op, v.m, v.n, v.k, v.count)
	best := slices.MinFunc(all, func(x, y found) int {
		if x.cold.Median < y.cold.Median {
			return -1
		}
		return 1
	})
	chosen := slices.IndexFunc(all, func(f found) bool { return f.chosen })
	if chosen < 0 {
		return fmt.Errorf("%s, which the net launches, is not among its variants", v.launch.Kernel)
	}
	b.Figure(name+", chosen, cold", 1e6*all[chosen].cold.Median, "us", all[chosen].cold.Between(1e6)...)
	b.Figure(fmt.Sprintf("%s, best of %d (%s, %d splits), cold", name, len(all), best.Kernel, best.splits), 1e6*best.cold.Median, "us",
		best.cold.Between(1e6)...)
	return nil
}

// resultOf launches once and returns the beginning of the result.
func (b *bench) resultOf(s *engine.Stream, l cuda.Launched) ([]float32, error) {
	roofline.Start(b.dev, s, l)
	y, ok := l.Args[resultAt(l)].(*engine.Tensor)
	if !ok || y == nil {
		return nil, fmt.Errorf("%s has no result where it is looked for", l.Kernel)
	}
	n := min(y.Elems(), 1<<14)
	h, err := s.Get(engine.NewTensor(y.DType(), y.Memory(), n))
	if err != nil {
		return nil, err
	}
	return h.F32(), nil
}

// resultAt is the argument that a launch writes.
func resultAt(l cuda.Launched) int {
	if strings.HasPrefix(l.Kernel, "attention") {
		return 3
	}
	return 0
}

// distance is |a-b| / |b|.
func distance(a, b []float32) float64 {
	var diff, sum float64
	for i := range b {
		d := float64(a[i]) - float64(b[i])
		diff += d * d
		sum += float64(b[i]) * float64(b[i])
	}
	if sum == 0 && diff == 0 {
		return 0
	}
	return math.Sqrt(diff / sum)
}

var entry = regexp.MustCompile(`(?m)^\.visible \.entry (\w+)\(`)

// subjectOf reads a launch's arguments, whose order is op.cu's.
func subjectOf(l cuda.Launched) (v subject, ok bool) {
	arg := func(i int) int { n, _ := l.Args[i].(int); return n }
	family, _, _ := strings.Cut(l.Kernel, "_")
	var m, n, k int
	switch {
	case (family == "linear" || family == "geglu") && len(l.Args) > 10 && !strings.Contains(l.Kernel, "16x16"):
		m, n, k, v.sums = arg(8), arg(9), arg(10), 7
	case family == "conv" && len(l.Args) > 18:
		m, n, k, v.sums = arg(9), arg(10), arg(17)*arg(18)*(arg(13)+arg(14)), 8
	case family == "attention" && strings.HasPrefix(l.Kernel, "attention_f16_d"):
		return attentionOf(l)
	default:
		return v, false
	}
	v.op, v.m, v.n, v.k, v.launch = family, fmt.Sprint(m), fmt.Sprint(n), fmt.Sprint(k), l
	v.flops = 2 * float64(m) * float64(n) * float64(k)
	if family == "geglu" {
		v.flops *= 2
	}
	for _, p := range matmul.Plans(family, m, n, k, engine.F16, !strings.HasSuffix(l.Kernel, "_any")) {
		w := l
		w.Kernel, w.Grid, w.Block, w.Shared = p.Kernel, cuda.Dim{X: p.Blocks, Y: p.Splits, Z: 1}, cuda.Dim{X: p.Threads, Y: 1, Z: 1}, p.Shared
		v.variants = append(v.variants, variant{w, p.Splits, p.Partials})
	}
	return v, true
}

var dims = regexp.MustCompile(`^attention_f16_d(\d+)(_m2)?(_h2)?$`)

// attentionOf is an attention with its kernels: one or two heads a block, one or two
// rows of queries a warp.
func attentionOf(l cuda.Launched) (v subject, ok bool) {
	name := dims.FindStringSubmatch(l.Kernel)
	image, err := l.Module.Image()
	if name == nil || err != nil || len(l.Args) < 9 {
		return v, false
	}
	have := map[string]bool{}
	for _, m := range entry.FindAllStringSubmatch(image.PTX, -1) {
		have[m[1]] = true
	}
	arg := func(i int) int { n, _ := l.Args[i].(int); return n }
	lq, keys, heads, dim := arg(4), arg(5), arg(6), arg(7)
	v = subject{op: fmt.Sprintf("attention of %d x %d heads", l.Grid.Z, heads), m: fmt.Sprint(lq), n: fmt.Sprint(keys), k: fmt.Sprint(dim),
		launch: l, sums: -1,
		flops: 4 * float64(l.Grid.Z) * float64(heads) * float64(lq) * float64(keys) * float64(dim)}
	if name[1] == "512" {
		v.variants = []variant{{l, 1, 0}}
		return v, true
	}
	ceil := func(a, b int) int { return (a + b - 1) / b }
	for _, rows := range []string{"", "_m2"} {
		for _, pair := range []string{"", "_h2"} {
			w := l
			if w.Kernel = "attention_f16_d" + name[1] + rows + pair; !have[w.Kernel] {
				continue
			}
			w.Grid, w.Block = cuda.Dim{X: ceil(lq, 64), Y: heads, Z: l.Grid.Z}, cuda.Dim{X: 128, Y: 1, Z: 1}
			if rows != "" {
				w.Grid.X = ceil(lq, 128)
			}
			if pair != "" {
				w.Grid.Y, w.Block.X = ceil(heads, 2), 256
			}
			v.variants = append(v.variants, variant{w, 1, 0})
		}
	}
	return v, true
}
