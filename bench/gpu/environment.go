package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"parley/bench/parts"
	"parley/bench/random"
	"parley/bench/roofline"
	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/chip"
	"parley/nets/clip"
	"parley/nets/decode"
)

// commit is what was built; the linker sets it.
var commit = "unknown"

// about is what a report says of the build and the machine.
func about(o options) []string {
	l := []string{fmt.Sprintf("Commit %s. %s, %d cores (%s), %s. Driver: %s.", commit, first("/etc/os-release", "PRETTY_NAME="),
		runtime.NumCPU(),
		first("/proc/cpuinfo", "model name"), first("/proc/meminfo", "MemTotal"), first("/proc/driver/nvidia/version", "NVRM version"))}
	if !o.hardware() {
		l = append(l, "**Not hardware: the interpreter of PTX. No time here says anything of a GPU.**")
	}
	return l
}

// first is what follows a key in a text of keys and values.
func first(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), key); ok {
			return strings.Trim(rest, " \t:\"=")
		}
	}
	return "unknown"
}

// versions asks Python for what the peers need.
const versions = `
import importlib.metadata as m, os, sys
sys.path.append(os.environ.get("PARLEY_WHEELS", ""))
print("python", sys.version.split()[0], end="")
for p in "torch triton transformers diffusers accelerate safetensors numpy nvidia-cudnn-cu13 nvidia-cublas".split():
    try: print(",", p, m.version(p), end="")
    except m.PackageNotFoundError: print(",", p, "none", end="")
`

// environment is the device, what lies beside it, and the first launch of each room.
func environment(b *bench) error {
	for _, c := range [][]string{
		{"nvidia-smi", "--query-gpu=name,driver_version,vbios_version,pstate,clocks.max.sm,clocks.max.mem,power.limit," +
			"ecc.mode.current,mig.mode.current,temperature.gpu,pcie.link.gen.current", "--format=csv,noheader"},
		{"python3", "-c", versions},
		{"nvcc", "--version"},
		{"ncu", "--version"},
		{"compute-sanitizer", "--version"},
	} {
		b.Note("%s: %s", c[0], said(b.ctx, c...))
	}
	start := time.Now()
	if err := b.open(engine.F16); err != nil {
		return err
	}
	b.Figure("opening the device", 1e3*time.Since(start).Seconds(), "ms")
	i := b.dev.Info()
	b.Note("device: %s, compute capability %d.%d, %d multiprocessors, %d bytes of shared memory a block", i.Name, i.Major, i.Minor,
		b.dev.SMs(), b.dev.MaxShared())
	b.Figure("memory", float64(i.Total)/1e9, "GB")
	b.Figure("memory, free", float64(i.Free)/1e9, "GB")
	b.Figure("second-level cache", float64(i.L2)/1e6, "MB")
	if c, ok := chip.Find(i.Name); ok {
		b.Note("taken for %s: %.0f TFLOP/s of f16, %.0f GB/s by the data sheet", c.Name, c.PeakF16, c.DRAM)
		if c.SMs != b.dev.SMs() {
			b.Note("%s has %d multiprocessors here, %d by the data sheet", c.Name, b.dev.SMs(), c.SMs)
		}
	} else if b.hardware() {
		b.Note("engine/cuda/chip does not know it: no shares of a peak, no predictions")
	}
	if err := b.loading(); err != nil {
		return err
	}
	return b.launchRooms()
}

// said is the last line of what a command prints, or why there is none.
func said(ctx context.Context, c ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, c[0], c[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		return strings.TrimSpace(fmt.Sprintf("%v %s", err, lines[len(lines)-1]))
	}
	return lines[len(lines)-1]
}

// rooms are nets that between them launch kernels of every room that the product
// has.
func (b *bench) rooms() []func(s *engine.Stream) (func() error, error) {
	return []func(s *engine.Stream) (func() error, error){
		func(s *engine.Stream) (func() error, error) {
			p, err := random.StableDiffusion(random.SmallSD(), s.Device())
			if err != nil {
				return nil, err
			}
			p.Steps = 2
			ids := random.IDs(p.Config.Text, 1)
			return func() error {
				step, err := p.GuidedStep(s, 1)
				if err == nil {
					err = step()
				}
				if err != nil {
					return err
				}
				x, err := p.VAE.Decode(s, s.Put(p.Latents(1)))
				s.Free(x)
				if err == nil {
					_, err = p.Text.Forward(s, ids, clip.TextOptions{})
				}
				return err
			}, nil
		},
		func(s *engine.Stream) (func() error, error) {
			size := random.SmallBLIP()
			n, err := random.BLIP(size, s.Device())
			if err != nil {
				return nil, err
			}
			return func() error {
				seen, err := n.Vision.Forward(s, s.Put(random.Normal(1, 1, 1, size.Vision.Image, size.Vision.Image, 3)))
				if err != nil {
					return err
				}
				cache, err := n.Text.Start(s, seen, 1, 8)
				if err != nil {
					return err
				}
				_, err = decode.Generate(s, cache, [][]int32{{int32(size.Text.BOS), 5}}, decode.Options{
					Sample: true, TopP: 0.9, MinLength: 8, MaxLength: 8,
					EOS: int32(size.Text.Sep), Subsequences: []int{0}})
				return err
			}, nil
		},
	}
}

// launchRooms runs something of every room.
func (b *bench) launchRooms() error {
	seen := map[string]bool{}
	b.dev.Watch(func(l cuda.Launched) bool {
		seen[l.Module.Name()] = true
		return true
	})
	defer b.dev.Watch(nil)
	for _, load := range b.rooms() {
		s := engine.NewStream(b.ctx, b.dev)
		run, err := load(s)
		if err == nil {
			err = run()
		}
		s.Close()
		if err != nil {
			return fmt.Errorf("a launch of each room: %w", err)
		}
	}
	b.Figure("rooms that launched", float64(len(seen)), "rooms")
	return b.dev.Synchronize()
}

// smallNets runs something of every room and no more: a program for a sanitizer to
// look at.
func smallNets(ctx context.Context, o options) error {
	b := &bench{options: o, ctx: ctx, Speaker: parts.NewSpeaker(os.Stderr)}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	return errors.Join(b.launchRooms(), b.dev.Close())
}

// loading times what the first launch of each room waits for.
func (b *bench) loading() error {
	first := map[*cuda.Module]cuda.Launched{}
	var order []*cuda.Module
	b.dev.Watch(func(l cuda.Launched) bool {
		if _, ok := first[l.Module]; !ok {
			first[l.Module] = l
			order = append(order, l.Module)
		}
		return false
	})
	// A net that reads what it launched fails when nothing was: what it has launched
	// until then is enough.
	for _, load := range b.rooms() {
		s := engine.NewStream(b.ctx, b.dev)
		if run, err := load(s); err == nil {
			_ = run()
		}
		s.Close()
	}
	b.dev.Watch(nil)
	slices.SortFunc(order, func(x, y *cuda.Module) int { return strings.Compare(x.Name(), y.Name()) })
	total := 0.0
	for _, m := range order {
		l := first[m]
		start := time.Now()
		if _, err := b.dev.Occupancy(m, l.Kernel, l.Block.X*l.Block.Y*l.Block.Z, l.Shared); err != nil {
			b.Fail("load %s: %v", m.Name(), err)
			continue
		}
		ms := 1e3 * time.Since(start).Seconds()
		total += ms
		from := "PTX"
		if sm := b.dev.Architecture(m); sm > 0 {
			from = fmt.Sprintf("machine code of sm_%d", sm)
		}
		b.Figure(fmt.Sprintf("load %s from %s", m.Name(), from), ms, "ms")
	}
	b.Figure("load all rooms", total, "ms")
	if len(order) < 6 {
		return fmt.Errorf("only %d rooms", len(order))
	}
	return nil
}

// jit is what loading takes where the driver compiles PTX, with its cache off.
func jit(b *bench) error {
	if err := os.Setenv("CUDA_CACHE_DISABLE", "1"); err != nil {
		return err
	}
	if err := b.openAs(cuda.Options{JIT: true}); err != nil {
		return err
	}
	if err := b.loading(); err != nil {
		return err
	}
	return b.launchRooms()
}

// mainLaunches launches the heaviest launch of each kernel of a step once, and no
// other: a program for a profiler to look at.
func mainLaunches(ctx context.Context, o options) error {
	b := &bench{options: o, ctx: ctx}
	size := random.SD15()
	if o.small {
		size = random.SmallSD()
	}
	ops, err := roofline.DryStep(size, 1, roofline.Chips()[0].SMs)
	if err != nil {
		return err
	}
	heaviest, n := map[string]int{}, 0
	most := map[string]int64{}
	for _, op := range ops {
		for _, l := range op.Launches {
			if w := op.FLOPs + op.Bytes; w > most[l.Kernel] {
				most[l.Kernel], heaviest[l.Kernel] = w, n
			}
			n++
		}
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	defer b.dev.Close()
	p, err := random.StableDiffusion(size, b.dev)
	if err != nil {
		return err
	}
	s := engine.NewStream(ctx, b.dev)
	defer s.Close()
	b.dev.Watch(func(cuda.Launched) bool { return false })
	run, err := p.GuidedStep(s, 1)
	if err != nil {
		return err
	}
	at, launched := 0, 0
	b.dev.Watch(func(l cuda.Launched) bool {
		yes := heaviest[l.Kernel] == at
		at++
		if yes {
			launched++
		}
		return yes
	})
	err = run()
	b.dev.Watch(nil)
	if err == nil {
		err = b.dev.Synchronize()
	}
	if err == nil && (at != n || launched != len(heaviest)) {
		err = fmt.Errorf("%d of %d kernels in %d launches, %d were expected", launched, len(heaviest), at, n)
	}
	fmt.Println(launched, "launches")
	return err
}
