//go:build cuda

package nets_test

import (
	"testing"

	"parley/engine"
	"parley/engine/cuda"
	"parley/kernels/optest"
	"parley/weights/convert"
)

// TestGoldensCUDA is TestGoldens on the GPU, all nets on one device beside each
// other, each run twice. What a run takes it gives back, and it takes what a
// device that counts says.
func TestGoldensCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		for _, c := range models {
			t.Run(c.name, func(t *testing.T) {
				g := open(t, c.name, c.part)
				f, err := c.load(g, g.model.Loader(dev))
				if err != nil {
					t.Fatal(err)
				}
				loaded := dev.Usage()
				s := engine.NewStream(t.Context(), dev)
				hold(t, dev.Float(), g.compare(s, f))
				if have := dev.Usage(); have.Blocks != loaded.Blocks || have.Bytes != loaded.Bytes {
					t.Errorf("%+v is held after a run, %+v before", have, loaded)
				}
				dry := engine.NewStream(t.Context(), engine.DryRunOf(dev))
				if f, err = c.load(g, g.model.Loader(dry.Device())); err != nil {
					t.Fatal(err)
				}
				if _, err := f(dry); err != nil || dry.Peak() != s.Peak() {
					t.Errorf("a run takes %d bytes, %d were counted: %v", s.Peak(), dry.Peak(), err)
				}
			})
		}
	})
}

// each runs a test with f16 and with f32.
func each(t *testing.T, f func(t *testing.T, dev *cuda.Device)) {
	optest.Emulated(t, func(t *testing.T, d engine.Device) {
		dev, _ := cuda.On(d)
		f(t, dev)
	})
}

func TestBLIPStepsCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) { testBLIPSteps(t, dev) })
}

func TestOneSampleForManyTextsCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		manyTexts(t, open(t, "unet_odd", convert.UNet), dev, bounds[dev.Float()])
	})
}

// TestSeamsCUDA is seams_test.go's on the GPU.
func TestSeamsCUDA(t *testing.T) {
	each(t, func(t *testing.T, dev *cuda.Device) {
		t.Run("residuals", func(t *testing.T) { testResiduals(t, dev, "unet_odd") })
		t.Run("added", func(t *testing.T) { testAdded(t, dev, "unet_odd") })
		t.Run("steps", func(t *testing.T) { testStepPerSample(t, dev, "unet_odd") })
		t.Run("concat", func(t *testing.T) { testConcat(t, dev) })
		t.Run("clip skip", func(t *testing.T) { testClipSkip(t, dev, "clip_mixed", 3) })
		t.Run("towers", func(t *testing.T) { testTwoTowers(t, dev) })
	})
}

// TestInceptionEmulated is TestInception of one picture, in f16.
func TestInceptionEmulated(t *testing.T) {
	hold(t, engine.F16, features(t, optest.GPU(t, false), formula{}, "small"))
}
