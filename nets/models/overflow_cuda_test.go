//go:build cuda

package models_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/layout"
	"parley/nets/finite"
	"parley/nets/models"
	"parley/weights"
	"parley/weights/safetensors"
)

// TestOverflowIsDecodedAgain draws with an autoencoder whose first maps are
// beyond f16, as those of black pictures are: the picture is that of the CPU.
func TestOverflowIsDecodedAgain(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/sd")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "vae", "diffusion_pytorch_model.safetensors")
	set, err := weights.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	var entries []weights.Entry
	for _, e := range set.Entries() {
		v, err := weights.F32(e)
		if err != nil {
			t.Fatal(err)
		}
		own := append([]float32(nil), v...)
		if e.Name == "decoder.conv_in.weight" { // in f16, its sums are not
			most := float32(0)
			for _, v := range own {
				most = max(most, v, -v)
			}
			for i := range own {
				own[i] *= 6e4 / most
			}
		}
		raw := engine.FromF32(own, e.Shape...).Memory().Host
		entries = append(entries, weights.Entry{Name: e.Name, DType: "F32", Shape: e.Shape, Data: raw})
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.WriteFile(file, entries); err != nil {
		t.Fatal(err)
	}
	gpu, err := cuda.Open(cuda.Options{Emulated: true, Check: true})
	if err != nil {
		t.Fatal(err)
	}
	defer gpu.Close()
	var pictures [][]float32
	for _, dev := range []engine.Device{host.New(2), gpu} {
		p, err := models.OpenStableDiffusion(at(t, dir), dev)
		if err != nil {
			t.Fatal(err)
		}
		s := engine.NewStream(context.Background(), dev)
		z := engine.FromF32(make([]float32, 2*4*8*6), 2, 4, 8, 6)
		for i := range z.F32() {
			z.F32()[i] = float32(i%11)/8 - 0.6
		}
		if dev == engine.Device(gpu) { // it does overflow
			narrow := *p.Pipeline
			narrow.Wide = nil
			var bad *finite.Error
			if _, err := narrow.Decode(s, s.PutAs(engine.F32, layout.ToNHWC(z))); !errors.As(err, &bad) {
				t.Fatalf("error %v without the decoder in f32, want that the picture is not finite", err)
			}
		}
		x, err := p.Pipeline.Decode(s, s.PutAs(engine.F32, layout.ToNHWC(z)))
		if err != nil {
			t.Fatal(err)
		}
		y, err := s.Get(x)
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, y.F32())
		s.Close()
		p.Close()
	}
	if have := gpu.Usage(); have.Blocks != 0 {
		t.Errorf("%+v is held by both autoencoders at the end", have)
	}
	if e := far(pictures[1], pictures[0]); !(e <= 1e-3) { // rounded to f16 at the end
		t.Errorf("the picture is %.2g from the CPU's", e)
	}
}
