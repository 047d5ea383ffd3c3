package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"parley/engine"
	"parley/engine/cuda"
)

// chip is what the prediction knows of a GPU. Clocks are those under load.
type chip struct {
	name        string
	column      int // of RESOURCES.md's registers: sm_80, sm_86, sm_89, sm_90
	sms         int
	clock       float64 // GHz
	shared      int     // bytes of a multiprocessor
	tensor      float64 // FLOPs of f16 mma.sync in a clock of a multiprocessor
	dram, cache float64 // GB/s from memory, from the second-level cache
	l2          float64 // bytes
}

// The H100's tensor cores do 4096 FLOPs a clock by wgmma; mma.sync reaches 0.63
// of it (Luo et al., arXiv 2402.13499, measured 62.9 % on an H100). Rates of the
// second-level cache are round figures of microbenchmarks.
var chips = []chip{
	{"H100 SXM", 3, 132, 1.70, 228 << 10, 0.63 * 4096, 3352, 5500, 50e6},
	{"A100 SXM 80 GB", 0, 108, 1.41, 164 << 10, 2048, 2039, 4000, 40e6},
}

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
	functions = 16.0 // exponentials in a clock of a multiprocessor
)

// resources are RESOURCES.md's rows.
type resources map[string]struct {
	registers []int
	shared    int
}

func readResources(text []byte) (resources, error) {
	r := resources{}
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
func (r resources) resident(c chip, l cuda.Launched) (int, error) {
	k, ok := r[l.Kernel]
	if !ok {
		return 0, fmt.Errorf("%s does not stand in RESOURCES.md", l.Kernel)
	}
	threads := l.Block.X * l.Block.Y * l.Block.Z
	warps := (threads + 31) / 32
	registers := (k.registers[c.column]*32 + 255) / 256 * 256 * warps
	n := min(32, 2048/threads, 65536/registers)
	n = min(n, c.shared/(k.shared+l.Shared+1024)) // 1 KiB is the system's
	if n < 1 {
		return 0, fmt.Errorf("%s does not fit on %s", l.Kernel, c.name)
	}
	return n, nil
}

// forecast is what a launch should take, in microseconds, and of what.
type forecast struct {
	time, ideal  float64 // ideal: the larger of FLOPs and bytes at full rate
	bound        string
	blocks       int
	resident     int
	waves        float64
	flops, bytes float64
	kernel, what string
	path         string
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

// predict is the model.
func (c chip) predict(r resources, o operation, i int) (f forecast, err error) {
	l := o.launches[i]
	f = forecast{kernel: l.Kernel, what: o.Op + " " + o.shape, path: o.Path, blocks: l.Grid.X * l.Grid.Y * l.Grid.Z}
	if f.resident, err = r.resident(c, l); err != nil {
		return f, err
	}
	again := 0.0 // of what a norm reads, the part that it reads twice
	wait, tail := 0.0, 0.0
	if strings.HasPrefix(l.Kernel, "group_") && !strings.HasSuffix(l.Kernel, "_any") {
		arg := func(i int) int { return l.Args[i].(int) }
		n, groups, bundle, slabs, kept := arg(6), arg(10), arg(11), arg(12), arg(13)
		items := n * groups / bundle * slabs
		if slabs > 1 { // a block for each multiprocessor that there is
			f.blocks, wait = min(items, c.sms), meeting
		}
		again = max(0, 1-float64(kept*f.blocks)/float64(items))
	}
	threads := l.Block.X * l.Block.Y * l.Block.Z
	f.waves = float64(f.blocks) / float64(c.sms*f.resident)
	if i == 0 {
		f.flops, f.bytes = float64(o.FLOPs), float64(o.Bytes)
	}
	busy := min(f.blocks, c.sms)                  // multiprocessors with work
	deep := ceil(f.blocks, c.sms)                 // blocks of the busiest one
	warps := min(deep, f.resident) * threads / 32 // at once there
	rate := c.tensor * mainLoop * c.clock * 1e3   // FLOPs in a us of a multiprocessor
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
		depth := f.flops / 2 / (elements / float64(o.Out.Dim(-1))) / cols
		depth = math.Ceil(depth/32) * 32 / float64(max(1, l.Grid.Y))
		parts["tensor cores"] = float64(deep) * 2 * float64(m*n) * depth / rate
		parts["cache"] = float64(f.blocks) * float64(m+n) * depth * 2 / (c.cache * 1e3)
		if s := float64(l.Grid.Y); s > 1 {
			// Shares are written, and in the mean read, by all; the last ones have
			// nobody beside them any more.
			share := 4 * float64(m*n)
			tail = counted + (s-1)*share/(undivided*c.clock*1e3)/spread
			parts["cache"] += 2 * float64(f.blocks) * share / (c.cache * near * 1e3)
		}
		parts["memory"] = f.bytes / (c.dram * memory * 1e3)
		if busy < c.sms {
			parts["memory"] = max(parts["memory"], f.bytes/(float64(busy)*perSM*1e3))
		}
	case o.Op == "attention":
		// Queries and keys in whole tiles, dims as the kernel pads them.
		width := 0
		if at := strings.Index(l.Kernel, "_d"); at >= 0 {
			fmt.Sscanf(l.Kernel[at:], "_d%d", &width)
		}
		q, heads := l.Args[4].(int), l.Args[6].(int)
		keys, dim := l.Args[5].(int), l.Args[7].(int)
		scores := float64(o.Out.Elems()/(q*heads*dim)) * float64(heads) * float64(ceil(q, 64)*64) * float64(ceil(keys, 64)*64)
		share := float64(deep) / (float64(f.blocks) / float64(c.sms)) // of the busiest, over the mean
		parts["tensor cores"] = share * (scores*4*float64(width)/(rate*float64(c.sms)) +
			exposed*scores*(softmax/lanes+1/functions)/(float64(c.sms)*c.clock*1e3))
		parts["memory"] = f.bytes / (c.dram * memory * 1e3)
	default:
		f.bytes = float64(o.Bytes) / float64(len(o.launches))
		parts["memory"] = f.bytes / (c.dram * memory * 1e3)
		moved := f.bytes * (1 + again/2)
		if float64(o.Bytes) < c.l2/2 {
			delete(parts, "memory")
			parts["cache"] = moved / (c.cache * near * 1e3)
		}
		drawn := float64(busy) * perSM * min(1, float64(min(deep, f.resident)*threads)/1024)
		if t := moved / (drawn * 1e3); t > parts["memory"]+parts["cache"] {
			parts = map[string]float64{"few blocks": t}
		}
	}
	for name, t := range parts {
		if t > f.time || t == f.time && name < f.bound {
			f.time, f.bound = t, name
		}
	}
	start := fill * math.Ceil(f.waves)
	if f.time < gap+start {
		f.bound = "launch"
	}
	f.time += gap + start + wait + tail
	f.ideal = max(f.flops/(c.tensor*c.clock*float64(c.sms)*1e3), f.bytes/(c.dram*1e3))
	return f, nil
}

// dryStep is the operations of a guided step of n pictures, with the launches
// that the device would get.
func dryStep(size painting, n int) ([]operation, error) {
	p, err := loadPainter(size, engine.DryRun{Elem: engine.F16}, true)
	if err != nil {
		return nil, err
	}
	d, err := cuda.Open(cuda.Options{Emulated: true})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var f follower
	d.Watch(func(l cuda.Launched) bool { f.launched(l); return false })
	s := engine.NewStream(context.Background(), d)
	defer s.Close()
	run, err := (&bench{}).unet(s, p, size, n)
	if err != nil {
		return nil, err
	}
	f = follower{}
	s.Watch(nil, &f)
	err = run()
	s.Watch(nil, nil)
	return f.ops, err
}

// roofline prints what the step should take, by the launches that it makes.
func roofline(args []string, out io.Writer) error {
	f := flag.NewFlagSet("roofline", flag.ContinueOnError)
	data := f.String("data", ".", "the checkout")
	batch := f.Int("batch", 1, "pictures at once")
	write := f.Bool("w", false, "put the tables in bench/ROOFLINE.md instead")
	if err := f.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(*data, "kernels", "RESOURCES.md"))
	if err != nil {
		return err
	}
	r, err := readResources(text)
	if err != nil {
		return fmt.Errorf("kernels/RESOURCES.md: %w", err)
	}
	ops, err := dryStep(sd15, *batch)
	if err != nil {
		return err
	}
	tables, err := rooflineTables(r, ops, *batch)
	if err != nil {
		return err
	}
	if !*write {
		_, err = io.WriteString(out, tables)
		return err
	}
	path := filepath.Join(*data, "bench", "ROOFLINE.md")
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const begin, end = "<!-- tables -->\n", "<!-- end of the tables -->"
	head, rest, ok1 := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for the tables", path)
	}
	return os.WriteFile(path, []byte(head+begin+tables+end+tail), 0o644)
}

func rooflineTables(r resources, ops []operation, batch int) (string, error) {
	var b strings.Builder
	for _, c := range chips {
		var all []forecast
		for _, o := range ops {
			for i := range o.launches {
				p, err := c.predict(r, o, i)
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

// sum is several forecasts together.
type sum struct {
	name                      string
	launches                  int
	flops, bytes, time, ideal float64
	blocks, resident          [2]int // least and most
	waves                     [2]float64
	bounds                    map[string]float64
}

func (s *sum) add(f forecast) {
	if s.launches == 0 {
		s.blocks, s.resident, s.waves, s.bounds = [2]int{f.blocks, f.blocks}, [2]int{f.resident, f.resident}, [2]float64{f.waves, f.waves}, map[string]float64{}
	}
	s.launches++
	s.flops += f.flops
	s.bytes += f.bytes
	s.time += f.time
	s.ideal += f.ideal
	s.blocks = [2]int{min(s.blocks[0], f.blocks), max(s.blocks[1], f.blocks)}
	s.resident = [2]int{min(s.resident[0], f.resident), max(s.resident[1], f.resident)}
	s.waves = [2]float64{min(s.waves[0], f.waves), max(s.waves[1], f.waves)}
	s.bounds[f.bound] += f.time
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

func gather(all []forecast, key func(forecast) string) []*sum {
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

func (c chip) table(w io.Writer, all []forecast, batch int) {
	var total sum
	for _, f := range all {
		total.add(f)
	}
	fmt.Fprintf(w, "\n### %s, %d guided picture(s) at once, predicted\n\n", c.name, batch)
	fmt.Fprintf(w, "%d launches, %.0f GFLOPs, %.2f GB: **%.2f ms, %.0f steps a second** (%.0f %% of mma.sync's rate).\n\n", total.launches, total.flops/1e9, total.bytes/1e9, total.time/1e3, 1e6/total.time,
		100*total.flops/(total.time*c.tensor*c.clock*float64(c.sms)*1e3))
	head := "launches | GFLOPs | MB | blocks | blocks an SM | waves | bound | ms | TFLOP/s | GB/s |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
	row := func(s *sum) {
		fmt.Fprintf(w, "| %s | %d | %.1f | %.1f | %s | %s | %s | %s | %.3f | %.0f | %.0f |\n", s.name, s.launches, s.flops/1e9, s.bytes/1e6,
			span(s.blocks, "%d"), span(s.resident, "%d"), span(s.waves, "%.2f"), s.bound(), s.time/1e3, s.flops/s.time/1e6, s.bytes/s.time/1e3)
	}
	kernels := gather(all, func(f forecast) string { return "`" + f.kernel + "`" })
	slices.SortStableFunc(kernels, func(a, b *sum) int { return cmp.Compare(b.time, a.time) })
	fmt.Fprint(w, "| kernel | "+head)
	for _, s := range kernels {
		row(s)
	}
	// What the bounds alone would leave: the most to win comes first.
	shapes := gather(all, func(f forecast) string { return "`" + f.kernel + "` " + f.what })
	slices.SortStableFunc(shapes, func(a, b *sum) int { return cmp.Compare(b.time-b.ideal, a.time-a.ideal) })
	titles, rule, _ := strings.Cut(head, "\n")
	fmt.Fprintln(w, "\nWhere the most is lost against the larger of FLOPs at mma.sync's rate and bytes at memory's:\n\n| kernel and result | lost ms | "+titles+"\n| --- "+strings.TrimSpace(rule))
	for _, s := range shapes[:min(16, len(shapes))] {
		s.name += fmt.Sprintf(" | %.3f", (s.time-s.ideal)/1e3)
		row(s)
	}
}
