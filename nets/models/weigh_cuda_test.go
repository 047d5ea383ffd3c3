//go:build cuda

package models

import (
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/cuda/ptx"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
	"parley/weights/convert"
)

// tally is a GPU that sums up what is allocated.
type tally struct {
	*cuda.Device
	bytes int
}

func (t *tally) Unwrap() engine.Device { return t.Device }

func (t *tally) Alloc(n int) (engine.Memory, error) {
	t.bytes += n
	return t.Device.Alloc(n)
}

// TestWeightsAreWeighed: a dry run foretells to the byte what the weights take on a
// GPU, in each format that it stores.
func TestWeightsAreWeighed(t *testing.T) {
	for _, float := range []engine.DType{engine.F16, engine.F32} {
		gpu, err := cuda.Emulate(ptx.New(ptx.Options{}), float)
		if err != nil {
			t.Fatal(err)
		}
		defer gpu.Close()
		sd := Embedded("sd")
		weighed(t, gpu, Embedded("blip"), "blip", convert.BLIP, blip.Load)
		weighed(t, gpu, Embedded("clip"), "clip", convert.CLIP, clip.Load)
		if in, ok := sd.in("sd"); ok {
			sd = in
		}
		weighed(t, gpu, sd, "unet", convert.UNet, unet.Load)
		weighed(t, gpu, sd, "vae", convert.VAE, vae.Load)
	}
}

func weighed[T any](t *testing.T, gpu *cuda.Device, src Source, folder, part string,
	build func(weights.Config, *weights.Loader) (T, error)) {
	t.Helper()
	f := src.open()
	defer f.Close()
	real, dry := &tally{Device: gpu}, &scale{DryRun: engine.DryRunOf(gpu)}
	for _, d := range []engine.Device{real, dry} {
		if _, err := load(f, d, folder, part, build); err != nil {
			t.Fatal(err)
		}
	}
	if dry.bytes != real.bytes || real.bytes < 1<<20 {
		t.Errorf("%s in %v: %d bytes weighed, %d taken", part, gpu.Float(), dry.bytes, real.bytes)
	}
}
