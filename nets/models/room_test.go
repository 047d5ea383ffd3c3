package models_test

import (
	"errors"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
)

// small is a CPU that has so many bytes free.
type small struct {
	*host.Device
	free int
}

func (s small) Unwrap() engine.Device                { return s.Device }
func (s small) Memory() (free, total int, err error) { return s.free, s.free, nil }

// TestWeightsAreWeighed: on the CPU, too, weights that do not fit are refused before
// they are loaded; those of a tower that nobody uses do not count.
func TestWeightsAreWeighed(t *testing.T) {
	dev := small{host.New(1), 1 << 20}
	var m *engine.MemoryError
	if _, err := models.OpenStableDiffusion(models.Embedded("sd"), dev); !errors.As(err, &m) || m.Need < 8<<20 || m.Free != 1<<20 {
		t.Errorf("Stable Diffusion: %v", err)
	}
	if _, err := models.OpenBLIP(models.Embedded("blip"), dev); !errors.As(err, &m) {
		t.Errorf("BLIP: %v", err)
	}
	c, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(true, false); !errors.As(err, &m) {
		t.Errorf("CLIP: %v", err)
	}
	vision := m.Need
	if vision < 9<<20 { // 8 MB beside the weights
		t.Errorf("CLIP's picture tower needs %d bytes", vision)
	}
	dev.free = vision - 1
	if c, err = models.OpenCLIP(models.Embedded("clip"), dev); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(true, false); !errors.As(err, &m) {
		t.Errorf("the picture tower in %d bytes: %v", dev.free, err)
	}
	dev.free = vision
	if c, err = models.OpenCLIP(models.Embedded("clip"), dev); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(true, false); err != nil {
		t.Errorf("the picture tower in its %d bytes: %v", vision, err)
	}
	dev.free = 1 << 40
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}
