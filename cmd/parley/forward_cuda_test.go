//go:build cuda

package main

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"testing"

	"parley/engine"
	"parley/kernels/layout"
	"parley/nets/forward"
	"parley/weights"
	"parley/weights/safetensors"
)

// TestForwardOnPTX runs nets of nets/testdata by `parley forward --device ptx`
// on the inputs of their goldens, inner modules included.
func TestForwardOnPTX(t *testing.T) {
	for _, c := range []struct {
		net, model string
		in, out    map[string]string // the program's name of each of goldens.py's
		taps       string
	}{
		{"clip-image", "clip_gelu", map[string]string{"in.pixels": "pixel_values"},
			map[string]string{"out.vision.embeds": "image_embeds", "out.vision.pooled": "pooler_output", "out.vision.hidden": "last_hidden_state"},
			""},
		{"clip-text", "clip_mixed", map[string]string{"in.ids": "input_ids"},
			map[string]string{"out.text.embeds": "text_embeds", "out.text.hidden": "last_hidden_state"}, ""},
		{"blip-vision", "blip_narrow", map[string]string{"in.pixels": "pixel_values"}, map[string]string{"out.hidden": "last_hidden_state"}, ""},
		{"unet", "unet_odd", map[string]string{"in.sample": "sample", "in.timesteps": "timestep", "in.context": "encoder_hidden_states"},
			map[string]string{"out.sample": "sample"}, "block"},
		{"vae-decode", "vae_three", map[string]string{"in.latents": "latents"}, map[string]string{"out.pixels": "sample"}, "decoder"},
		{"vae-encode", "vae_three", map[string]string{"in.pixels": "sample"}, map[string]string{"out.mean": "latent_mean"}, "encoder"},
	} {
		t.Run(c.net, func(t *testing.T) {
			model, dir := filepath.Join("../../nets/testdata", c.model), t.TempDir()
			goldens := tensors(t, filepath.Join(model, "golden.safetensors"))
			var in []safetensors.Tensor
			for golden, name := range c.in {
				x := goldens[golden]
				if len(x.Shape()) == 4 {
					x = layout.ToNCHW(x)
				}
				e := safetensors.Tensor{Name: name, DType: "F32", Shape: x.Shape()}
				if x.DType() == engine.I32 {
					e.DType = "I32"
					for _, v := range x.I32() {
						e.Data = binary.LittleEndian.AppendUint32(e.Data, uint32(v))
					}
				} else {
					for _, v := range x.F32() {
						e.Data = binary.LittleEndian.AppendUint32(e.Data, math.Float32bits(v))
					}
				}
				in = append(in, e)
			}
			from, to := filepath.Join(dir, "in.safetensors"), filepath.Join(dir, "out.safetensors")
			if err := safetensors.WriteFile(from, in); err != nil {
				t.Fatal(err)
			}
			args := []string{"forward", c.net, "--model", model, "--in", from, "--out", to, "--device", "ptx"}
			if c.taps != "" {
				args = append(args, "--taps", c.taps)
			}
			if code, _, errs := call(t, args...); code != 0 {
				t.Fatal(errs)
			}
			outs := tensors(t, to)
			for name := range outs {
				if goldens["out."+name] != nil && name[:4] == "tap." {
					c.out["out."+name] = name
				}
			}
			if c.taps != "" && len(c.out) < 2 {
				t.Error("no inner module is compared")
			}
			for golden, name := range c.out {
				have, want := outs[name], goldens[golden]
				if have == nil {
					t.Fatalf("no %s", name)
				}
				if len(want.Shape()) == 4 {
					want = layout.ToNCHW(want)
				}
				if !have.Shape().Equal(want.Shape()) {
					t.Fatalf("%s: shape %v, want %v", name, have.Shape(), want.Shape())
				}
				var diff, sum float64
				for i, v := range want.F32() {
					d := float64(have.F32()[i] - v)
					diff += d * d
					sum += float64(v) * float64(v)
				}
				if e := math.Sqrt(diff / sum); !(e <= 5e-3) {
					t.Errorf("%s: relative error %.2g", name, e)
				} else {
					t.Logf("%s: relative error %.2g", name, e)
				}
			}
		})
	}
}

func tensors(t *testing.T, path string) forward.Tensors {
	t.Helper()
	set, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	all, err := forward.ReadTensors(set)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
