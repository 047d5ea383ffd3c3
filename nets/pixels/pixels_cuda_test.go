//go:build cuda

package pixels

import (
	"bytes"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/optest"
	"parley/kernels/resize"
)

// TestResizeAsPillowCUDA: what the GPU resizes is Pillow's to the bit.
func TestResizeAsPillowCUDA(t *testing.T) {
	dev := optest.GPU(t, false)
	testResize(t, func(m *Image, w, h int, f Filter) (*Image, error) {
		s := engine.NewStream(t.Context(), dev)
		defer s.Close()
		return NewDrawn(dev, resize.Resize(s, m.On(s), h, w, f, resize.Window{H: h, W: w})).Host()
	})
}

func TestProcessorsCUDA(t *testing.T) { optest.Emulated(t, testProcessors) }

// TestDrawnCUDA: a drawing is looked at where it lies, and copied elsewhere.
func TestDrawnCUDA(t *testing.T) {
	m := picture(t, goldens(t), "picture.40x43")
	gpu, cpu := optest.GPU(t, false), host.New(1)
	s, other := engine.NewStream(t.Context(), gpu), engine.NewStream(t.Context(), cpu)
	defer s.Close()
	x := m.On(s)
	d := NewDrawn(gpu, x)
	if here := d.On(s); here.Memory().Addr != x.Memory().Addr || d.host != nil {
		t.Error("a drawing is copied on its own device")
	}
	if there := d.On(other); !bytes.Equal(there.U8(), m.Pix) {
		t.Error("a drawing looks otherwise elsewhere")
	}
	d.Release()
	s.Free(x)
	back, err := s.Get(d.On(s))
	if err != nil || !bytes.Equal(back.U8(), m.Pix) {
		t.Errorf("a copy does not come back: %v", err)
	}
}
