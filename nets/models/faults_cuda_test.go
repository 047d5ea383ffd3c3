//go:build cuda

package models_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/driver"
	"parley/engine/cuda/ptx"
	"parley/nets/blip"
	"parley/nets/decode"
	"parley/nets/forward"
	"parley/nets/models"
	"parley/weights"
)

// work is a request of a tiny model on a device that can be made to fail.
type work struct {
	dev *cuda.Device
	run func(ctx context.Context, step func()) ([]float32, error)
}

// open is a fresh interpreter, without the sanitizer, with a model on it. A
// machine whose faults are to show late, as hardware's do, says so.
func open(t *testing.T, late bool, load func(*testing.T, *cuda.Device) func(context.Context, func()) ([]float32, error)) work {
	t.Helper()
	dev, err := cuda.Emulate(ptx.New(ptx.Options{}), engine.F16)
	if err != nil {
		t.Fatal(err)
	}
	w := work{dev, load(t, dev)}
	dev.Emulation().Late(late)
	return w
}

func (w work) close(t *testing.T) {
	t.Helper()
	if err := w.dev.Close(); err != nil {
		t.Error(err)
	}
}

// drawer draws two small pictures; the second step is recorded.
func drawer(t *testing.T, dev *cuda.Device) func(context.Context, func()) ([]float32, error) {
	p := sketch(t, dev)
	p.Defaults.Width, p.Defaults.Height = 4, 4
	return func(ctx context.Context, step func()) ([]float32, error) {
		_, x, err := drawing{kind: "euler-a", steps: 3, guidance: 1}.draw(ctx, p, dev, step)
		return x, err
	}
}

// teller describes a picture twice, by beam search.
func teller(t *testing.T, dev *cuda.Device) func(context.Context, func()) ([]float32, error) {
	dir := os.DirFS("../testdata")
	set, err := weights.OpenFS(dir, "blip_narrow")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	config, err := weights.ReadConfig(dir, "blip_narrow/config.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := blip.Load(config, set.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, step func()) ([]float32, error) {
		s := engine.NewStream(ctx, dev)
		defer s.Close()
		size := m.Vision.Size()
		v, err := m.Vision.Forward(s, s.Put(engine.FromF32(make([]float32, size*size*3), 1, size, size, 3)))
		if err != nil {
			return nil, err
		}
		o := decode.Options{Beams: 2, Keep: 2, MinLength: 6, MaxLength: 7, EOS: m.Text.Sep, Pad: m.Text.PadID}
		c, err := m.Text.Start(s, v, 2, o.MaxLength)
		if err != nil {
			return nil, err
		}
		defer c.Free(s)
		texts, err := decode.Generate(s, told{c, step}, [][]int32{{m.Text.BOS, 3}}, o)
		if err != nil {
			return nil, err
		}
		var out []float32
		for _, x := range texts {
			for _, id := range x.IDs {
				out = append(out, float32(id))
			}
		}
		return out, nil
	}
}

// told says when a word is read.
type told struct {
	decode.Model
	step func()
}

func (w told) Next(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	y, err := w.Model.Next(s, ids)
	if err == nil && w.step != nil {
		w.step()
	}
	return y, err
}

var requests = map[string]func(*testing.T, *cuda.Device) func(context.Context, func()) ([]float32, error){
	"drawing": drawer, "caption": teller,
}

// must serves a request and compares its result.
func (w work) must(t *testing.T, want []float32) []float32 {
	t.Helper()
	have, err := w.run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want != nil && !same(have, want) {
		t.Fatalf("the next request gives %v, want %v", have, want)
	}
	return have
}

// nothing fails where more is held than before.
func (w work) nothing(t *testing.T, before cuda.Usage) {
	t.Helper()
	if have := w.dev.Usage(); have != before {
		t.Fatalf("%+v is held, %+v before", have, before)
	}
}

// TestEveryAllocationFails: each allocation of a request in turn finds no
// memory. The error says where and how much, nothing is left, and the next
// request is served.
func TestEveryAllocationFails(t *testing.T) {
	for name, load := range requests {
		t.Run(name, func(t *testing.T) {
			w := open(t, false, load)
			defer w.close(t)
			fail := w.dev.Emulation()
			want := w.must(t, nil)
			before := w.dev.Usage()
			fail.FailAlloc(0)
			w.must(t, want)
			all := fail.Allocs()
			if all < 50 {
				t.Fatalf("a request allocates %d times", all)
			}
			w.nothing(t, before)
			paths := map[string]bool{}
			for n := 1; n <= all; n++ {
				fail.FailAlloc(n)
				_, err := w.run(t.Context(), nil)
				var memory *cuda.OutOfMemory
				if !errors.As(err, &memory) || memory.Want <= 0 || !errors.Is(err, driver.OutOfMemory) || !strings.Contains(err.Error(), "ptx: ") ||
					!strings.Contains(err.Error(), " are free") {
					t.Fatalf("allocation %d of %d fails: %v", n, all, err)
				}
				path, _, _ := strings.Cut(err.Error(), ":")
				paths[path] = true
				w.nothing(t, before)
				if n%(all/8) == 0 {
					w.must(t, want)
				}
			}
			if len(paths) < 20 {
				t.Errorf("%d allocations failed at only %d paths: %v", all, len(paths), paths)
			}
			t.Logf("%d allocations, at %d paths", all, len(paths))
			fail.FailAlloc(0)
			w.must(t, want)
		})
	}
}

// TestLaunchesFail: a kernel faults, at once or, as on hardware, in the call
// after it. The error says so, and where; the device is lost until it is opened
// again, which serves the next request.
func TestLaunchesFail(t *testing.T) {
	for name, load := range requests {
		t.Run(name, func(t *testing.T) {
			w := open(t, false, load)
			want := w.must(t, nil)
			w.dev.Emulation().FailLaunch(0)
			w.must(t, want)
			all := w.dev.Emulation().Launches()
			w.close(t)
			for i := range 12 {
				n := 1 + i*(all-1)/11
				late := i%2 == 1
				w := open(t, late, load)
				w.dev.Emulation().FailLaunch(n)
				_, err := w.run(t.Context(), nil)
				var lost *cuda.Lost
				if !errors.As(err, &lost) || lost.During == "" || lost.Fault == nil || driver.Code(lost.Err) != driver.LaunchFailed {
					t.Fatalf("launch %d of %d fails, late %v: %v", n, all, late, err)
				}
				if !late && !strings.Contains(err.Error(), "launch ") {
					t.Errorf("launch %d of %d fails: %v", n, all, err)
				}
				if i < 2 {
					t.Log(err)
				}
				if _, err := w.run(t.Context(), nil); !errors.As(err, &lost) {
					t.Errorf("a request after the device is lost: %v", err)
				}
				w.close(t)
			}
			w = open(t, false, load)
			w.must(t, want)
			w.close(t)
		})
	}
}

// TestDeviceGoes: the device is taken away in the middle of a request.
func TestDeviceGoes(t *testing.T) {
	for name, load := range requests {
		t.Run(name, func(t *testing.T) {
			w := open(t, false, load)
			want := w.must(t, nil)
			for at := 1; at <= 3; at++ {
				steps := 0
				_, err := w.run(t.Context(), func() {
					if steps++; steps == at {
						w.dev.Emulation().Lose()
					}
				})
				var lost *cuda.Lost
				if !errors.As(err, &lost) || !strings.Contains(err.Error(), "taken away") {
					t.Fatalf("lost after step %d: %v", at, err)
				}
				w.close(t)
				w = open(t, false, load)
			}
			w.must(t, want)
			w.close(t)
		})
	}
}

// countdown is a context that ends when it has been asked n times: between any
// two operations.
type countdown struct {
	context.Context
	n    int
	done chan struct{}
}

func (c *countdown) Done() <-chan struct{} { return c.done }
func (c *countdown) Err() error {
	if c.n--; c.n > 0 {
		return nil
	}
	return context.Canceled
}

// TestCancelledAnywhere: a request ends between two operations, whichever they
// are. Nothing is left, and the next one is served.
func TestCancelledAnywhere(t *testing.T) {
	for name, load := range requests {
		t.Run(name, func(t *testing.T) {
			w := open(t, false, load)
			defer w.close(t)
			want := w.must(t, nil)
			before := w.dev.Usage()
			count := &countdown{Context: t.Context(), n: 1 << 30}
			if _, err := w.run(count, nil); err != nil {
				t.Fatal(err)
			}
			all := 1<<30 - count.n
			for i := range 40 {
				n := 1 + i*(all-1)/39
				_, err := w.run(&countdown{Context: t.Context(), n: n}, nil)
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("cancelled at %d of %d: %v", n, all, err)
				}
				w.nothing(t, before)
			}
			w.must(t, want)
		})
	}
}

// TestNoRoomForAModel: a model that finds no memory while it is loaded leaves
// nothing behind.
func TestNoRoomForAModel(t *testing.T) {
	dev, err := cuda.Emulate(ptx.New(ptx.Options{}), engine.F16)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	fail := dev.Emulation()
	fail.FailAlloc(0)
	sketch(t, dev)
	all, before := fail.Allocs(), dev.Usage()
	for i := range 20 {
		fail.FailAlloc(1 + i*(all-1)/19)
		in := forward.Tensors{"latents": engine.FromF32(make([]float32, 16), 1, 4, 2, 2)}
		_, err := models.OpenStableDiffusion(at(t, "testdata/sd"), dev)
		if i%2 == 1 { // the autoencoder alone, and to the end
			fail.FailAlloc(1 + i*5)
			_, err = forward.Once(engine.NewRun(t.Context()), "vae-decode", at(t, "testdata/sd"), dev, in, forward.Options{})
		}
		var memory *cuda.OutOfMemory
		if !errors.As(err, &memory) || !strings.Contains(err.Error(), "load ") {
			t.Fatalf("allocation %d of %d fails: %v", 1+i*(all-1)/19, all, err)
		}
		if have := dev.Usage(); have != before {
			t.Errorf("%+v is held after %v, %+v before", have, err, before)
			break
		}
	}
}
