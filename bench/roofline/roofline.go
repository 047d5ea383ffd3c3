// Package roofline predicts what a net's launches take on a GPU, by bounds of
// bytes and FLOPs and what the launches' geometry leaves of them: bench/ROOFLINE.md
// says how, and what follows of it for Stable Diffusion.
package roofline

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"parley/bench/random"
	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/chip"
)

// Chip is a GPU that the model knows enough of.
type Chip struct{ chip.Chip }

// Chips are those of the tables.
func Chips() []Chip {
	var l []Chip
	for _, name := range []string{"NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"} {
		if c, ok := chip.Find(name); ok {
			l = append(l, Chip{c})
		}
	}
	return l
}

// Find is the chip that a driver's name means, where the model knows enough of it.
func Find(name string) (Chip, bool) {
	c, ok := chip.Find(name)
	return Chip{c}, ok && c.Clock > 0 && c.L2Rate > 0
}

// column is the chip's of RESOURCES.md's registers: sm_80, sm_86, sm_89, sm_90.
func (c Chip) column() int { return max(0, slices.Index([]int{80, 86, 89, 90}, c.SM)) }

// What the model assumes beside the chips; none of it is measured on ours.
const (
	mainLoop  = 0.80 // of mma.sync's rate, of a full tile's loop
	memory    = 0.85 // of memory's rate, of a stream
	near      = 0.50 // of the cache's rate, of a kernel whose data lie there
	perSM     = 60.0 // GB/s that one multiprocessor draws at most, with enough threads
	gap       = 1.0  // us from one kernel of a graph to the next
	meeting   = 1.5  // us until the blocks of a launch have waited for each other
	counted   = 0.6  // us until a block's share is seen and counted
	undivided = 64.0 // bytes in a clock from the cache to a multiprocessor, few beside it
	spread    = 2.0  // blocks that have the last warps of a tile between them
	fill      = 1.2  // us to fill the stages and to write the tile, each wave
	softmax   = 8.0  // scalar instructions for a score, beside its exponential
	exposed   = 0.5  // of them, not hidden behind mma
	lanes     = 128.0
	// sharedRate is the bytes that a multiprocessor reads from its shared memory in a clock.
	sharedRate = 128.0
	functions  = 16.0 // exponentials in a clock of a multiprocessor
)

// Resources are RESOURCES.md's rows.
type Resources map[string]struct {
	registers []int
	shared    int
}

// ReadResources reads kernels/RESOURCES.md.
func ReadResources(text []byte) (Resources, error) {
	r := Resources{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		cells := strings.Split(s.Text(), "|")
		if len(cells) != 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		e := r[""]
		for _, f := range strings.Fields(cells[2]) {
			n, err := strconv.Atoi(f)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s.Text(), err)
			}
			e.registers = append(e.registers, n)
		}
		n, err := strconv.Atoi(strings.TrimSpace(cells[3]))
		if err != nil || len(e.registers) != 4 {
			return nil, fmt.Errorf("%q: no row of a kernel", s.Text())
		}
		e.shared = n
		r[strings.Trim(cells[1], " `")] = e
	}
	if len(r) < 50 {
		return nil, fmt.Errorf("only %d kernels", len(r))
	}
	return r, nil
}

// resident is how many blocks of a launch a multiprocessor holds at once.
func (r Resources) resident(c Chip, l cuda.Launched) (int, error) {
	k, ok := r[l.Kernel]
	if !ok {
		return 0, fmt.Errorf("%s does not stand in RESOURCES.md", l.Kernel)
	}
	threads := l.Block.X * l.Block.Y * l.Block.Z
	warps := (threads + 31) / 32
	registers := (k.registers[c.column()]*32 + 255) / 256 * 256 * warps
	n := min(32, 2048/threads, 65536/registers)
	n = min(n, c.Shared/(k.shared+l.Shared+1024)) // 1 KiB is the system's
	if n < 1 {
		return 0, fmt.Errorf("%s does not fit on %s", l.Kernel, c.Name)
	}
	return n, nil
}

// Forecast is what a launch should take, in microseconds, and of what.
type Forecast struct {
	Time, Ideal  float64 // Ideal: the larger of FLOPs and bytes at full rate
	Bound        string
	Blocks       int
	Resident     int // blocks of a multiprocessor at once
	Waves        float64
	FLOPs, Bytes float64
	Kernel, What string
	Path         string
}

// tileOf are the rows and columns of a kernel's tile, by its name.
func tileOf(kernel string) (rows, cols int) {
	for _, part := range strings.Split(kernel, "_") {
		f := strings.Split(part, "x")
		if len(f) < 2 {
			continue
		}
		m, err1 := strconv.Atoi(f[0])
		n, err2 := strconv.Atoi(f[1])
		if err1 == nil && err2 == nil {
			return m, n
		}
	}
	return 64, 64 // *_any
}

func ceil(a, b int) int { return (a + b - 1) / b }

// Predict is what the i-th launch of an operation should take.
func (c Chip) Predict(r Resources, o Operation, i int) (f Forecast, err error) {
	l := o.Launches[i]
	f = Forecast{Kernel: l.Kernel, What: o.Op + " " + o.Shape, Path: o.Path, Blocks: l.Grid.X * l.Grid.Y * l.Grid.Z}
	if f.Resident, err = r.resident(c, l); err != nil {
		return f, err
	}
	again := 0.0 // of what a norm reads, the part that it reads twice
	wait, tail := 0.0, 0.0
	if strings.HasPrefix(l.Kernel, "group_") && !strings.HasSuffix(l.Kernel, "_any") {
		arg := func(i int) int { return l.Args[i].(int) }
		n, groups, bundle, slabs, kept := arg(6), arg(10), arg(11), arg(12), arg(13)
		items := n * groups / bundle * slabs
		if slabs > 1 { // a block for each multiprocessor that there is
			f.Blocks, wait = min(items, c.SMs), meeting
		}
		again = max(0, 1-float64(kept*f.Blocks)/float64(items))
	}
	threads := l.Block.X * l.Block.Y * l.Block.Z
	f.Waves = float64(f.Blocks) / float64(c.SMs*f.Resident)
	if i == 0 {
		f.FLOPs, f.Bytes = float64(o.FLOPs), float64(o.Bytes)
	}
	busy := min(f.Blocks, c.SMs)                  // multiprocessors with work
	deep := ceil(f.Blocks, c.SMs)                 // blocks of the busiest one
	warps := min(deep, f.Resident) * threads / 32 // at once there
	rate := c.MMA * mainLoop * c.Clock * 1e3      // FLOPs in a us of a multiprocessor
	if warps < 8 {
		rate *= 0.6 + 0.05*float64(warps) // too few to hide each other's waits
	}
	parts := map[string]float64{}
	elements := 1.0
	if o.Out != nil {
		elements = float64(o.Out.Elems())
	}
	switch {
	case o.Op == "linear" || o.Op == "conv":
		m, n := tileOf(l.Kernel)
		cols := float64(o.Out.Dim(-1))
		if strings.HasPrefix(l.Kernel, "geglu") {
			cols *= 2
		}
		depth := f.FLOPs / 2 / (elements / float64(o.Out.Dim(-1))) / cols
		depth = math.Ceil(depth/32) * 32 / float64(max(1, l.Grid.Y))
		parts["tensor cores"] = float64(deep) * 2 * float64(m*n) * depth / rate
		parts["cache"] = float64(f.Blocks) * float64(m+n) * depth * 2 / (c.L2Rate * 1e3)
		if s := float64(l.Grid.Y); s > 1 {
			// Shares are written, and in the mean read, by all; the last ones have
			// nobody beside them any more.
			share := 4 * float64(m*n)
			tail = counted + (s-1)*share/(undivided*c.Clock*1e3)/spread
			parts["cache"] += 2 * float64(f.Blocks) * share / (c.L2Rate * near * 1e3)
		}
		parts["memory"] = f.Bytes / (c.DRAM * memory * 1e3)
		if busy < c.SMs {
			parts["memory"] = max(parts["memory"], f.Bytes/(float64(busy)*perSM*1e3))
		}
	case o.Op == "attention":
		// Queries and keys in whole tiles, dims as the kernel pads them.
		width := 0
		if at := strings.Index(l.Kernel, "_d"); at >= 0 {
			fmt.Sscanf(l.Kernel[at:], "_d%d", &width)
		}
		scalar := softmax
		if width == 40 {
			scalar-- // its sum is a column of the result
		}
		width = ceil(width, 16) * 16
		q, heads := l.Args[4].(int), l.Args[6].(int)
		keys, dim := l.Args[5].(int), l.Args[7].(int)
		scores := float64(o.Out.Elems()/(q*heads*dim)) * float64(heads) * float64(ceil(q, 64)*64) * float64(ceil(keys, 64)*64)
		share := float64(deep) / (float64(f.Blocks) / float64(c.SMs)) // of the busiest, over the mean
		parts["tensor cores"] = share * (scores*4*float64(width)/(rate*float64(c.SMs)) +
			exposed*scores*(scalar/lanes+1/functions)/(float64(c.SMs)*c.Clock*1e3))
		// An ldmatrix of 512 bytes feeds two mma of 4,096 FLOPs, or four.
		bytes := scores * 4 * float64(width) / 4096 * 256
		if strings.Contains(l.Kernel, "_m2") {
			bytes /= 2
		}
		parts["shared memory"] = share * bytes / (sharedRate * float64(c.SMs) * c.Clock * 1e3)
		parts["memory"] = f.Bytes / (c.DRAM * memory * 1e3)
	default:
		f.Bytes = float64(o.Bytes) / float64(len(o.Launches))
		parts["memory"] = f.Bytes / (c.DRAM * memory * 1e3)
		moved := f.Bytes * (1 + again/2)
		if float64(o.Bytes) < float64(c.L2)/2 {
			delete(parts, "memory")
			parts["cache"] = moved / (c.L2Rate * near * 1e3)
		}
		drawn := float64(busy) * perSM * min(1, float64(min(deep, f.Resident)*threads)/1024)
		if t := moved / (drawn * 1e3); t > parts["memory"]+parts["cache"] {
			parts = map[string]float64{"few blocks": t}
		}
	}
	for name, t := range parts {
		if t > f.Time || t == f.Time && name < f.Bound {
			f.Time, f.Bound = t, name
		}
	}
	start := fill * math.Ceil(f.Waves)
	if f.Time < gap+start {
		f.Bound = "launch"
	}
	f.Time += gap + start + wait + tail
	f.Ideal = max(f.FLOPs/(c.MMA*c.Clock*float64(c.SMs)*1e3), f.Bytes/(c.DRAM*1e3))
	return f, nil
}

// DryStep is the operations of a guided step of n pictures, with the launches that
// a device of that many multiprocessors would get.
func DryStep(c random.Diffusion, n, sms int) ([]Operation, error) {
	p, err := random.StableDiffusion(c, engine.DryRun{Elem: engine.F16})
	if err != nil {
		return nil, err
	}
	return Dry(sms, func(s *engine.Stream) (func() error, error) { return p.GuidedStep(s, n) })
}

// Tables are what a guided step of that many pictures should take on each chip of
// Chips, by kernels and by shapes, in Markdown.
func Tables(r Resources, size random.Diffusion, batch int) (string, error) {
	var b strings.Builder
	for _, c := range Chips() {
		ops, err := DryStep(size, batch, c.SMs)
		if err != nil {
			return "", err
		}
		var all []Forecast
		for _, o := range ops {
			for i := range o.Launches {
				p, err := c.Predict(r, o, i)
				if err != nil {
					return "", err
				}
				all = append(all, p)
			}
		}
		c.table(&b, all, batch)
	}
	return b.String(), nil
}

// sum is several Forecasts together.
type sum struct {
	name                      string
	launches                  int
	flops, bytes, time, ideal float64
	blocks, resident          [2]int // least and most
	waves                     [2]float64
	bounds                    map[string]float64
}

func (s *sum) add(f Forecast) {
	if s.launches == 0 {
		s.blocks, s.resident, s.waves, s.bounds = [2]int{f.Blocks, f.Blocks}, [2]int{f.Resident, f.Resident}, [2]float64{f.Waves,
			f.Waves}, map[string]float64{}
	}
	s.launches++
	s.flops += f.FLOPs
	s.bytes += f.Bytes
	s.time += f.Time
	s.ideal += f.Ideal
	s.blocks = [2]int{min(s.blocks[0], f.Blocks), max(s.blocks[1], f.Blocks)}
	s.resident = [2]int{min(s.resident[0], f.Resident), max(s.resident[1], f.Resident)}
	s.waves = [2]float64{min(s.waves[0], f.Waves), max(s.waves[1], f.Waves)}
	s.bounds[f.Bound] += f.Time
}

// bound is what most of the time is bound by.
func (s *sum) bound() string {
	best := ""
	for b, t := range s.bounds {
		if best == "" || t > s.bounds[best] || t == s.bounds[best] && b < best {
			best = b
		}
	}
	return best
}

func gather(all []Forecast, key func(Forecast) string) []*sum {
	var out []*sum
	at := map[string]*sum{}
	for _, f := range all {
		k := key(f)
		if at[k] == nil {
			at[k] = &sum{name: k}
			out = append(out, at[k])
		}
		at[k].add(f)
	}
	return out
}

func span[T int | float64](v [2]T, format string) string {
	a, b := fmt.Sprintf(format, v[0]), fmt.Sprintf(format, v[1])
	if a == b {
		return a
	}
	return a + "–" + b
}

func (c Chip) table(w io.Writer, all []Forecast, batch int) {
	var total sum
	for _, f := range all {
		total.add(f)
	}
	fmt.Fprintf(w, "\n### %s, %d guided picture(s) at once, predicted\n\n", c.Name, batch)
	fmt.Fprintf(w, "%d launches, %.0f GFLOPs, %.2f GB: **%.2f ms, %.0f steps a second** (%.0f %% of mma.sync's rate).\n\n", total.launches,
		total.flops/1e9, total.bytes/1e9, total.time/1e3, 1e6/total.time,
		100*total.flops/(total.time*c.MMA*c.Clock*float64(c.SMs)*1e3))
	head := "launches | GFLOPs | MB | blocks | blocks an SM | waves | bound | ms | TFLOP/s | GB/s |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
	row := func(s *sum) {
		fmt.Fprintf(w, "| %s | %d | %.1f | %.1f | %s | %s | %s | %s | %.3f | %.0f | %.0f |\n", s.name, s.launches, s.flops/1e9, s.bytes/1e6,
			span(s.blocks, "%d"), span(s.resident, "%d"), span(s.waves, "%.2f"), s.bound(), s.time/1e3, s.flops/s.time/1e6, s.bytes/s.time/1e3)
	}
	kernels := gather(all, func(f Forecast) string { return "`" + f.Kernel + "`" })
	slices.SortStableFunc(kernels, func(a, b *sum) int { return cmp.Compare(b.time, a.time) })
	fmt.Fprint(w, "| kernel | "+head)
	for _, s := range kernels {
		row(s)
	}
	// What the bounds alone would leave: the most to win comes first.
	shapes := gather(all, func(f Forecast) string { return "`" + f.Kernel + "` " + f.What })
	slices.SortStableFunc(shapes, func(a, b *sum) int { return cmp.Compare(b.time-b.ideal, a.time-a.ideal) })
	titles, rule, _ := strings.Cut(head, "\n")
	fmt.Fprintln(w, "\nWhere the most is lost against the larger of FLOPs at mma.sync's rate and bytes at memory's:\n\n"+
		"| kernel and result | lost ms | "+titles+"\n| --- "+strings.TrimSpace(rule))
	for _, s := range shapes[:min(16, len(shapes))] {
		s.name += fmt.Sprintf(" | %.3f", (s.time-s.ideal)/1e3)
		row(s)
	}
}
