package models

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"parley/engine"
	"parley/engine/cuda"
	"parley/weights/safetensors"
)

// MemoryError says that something does not fit in a device's memory. It comes
// before the work, and where it is about weights, before they are loaded.
type MemoryError struct {
	What       string
	Need, Free int    // bytes
	Fits       string // what would fit; "" where nothing would
}

func (e *MemoryError) Error() string {
	s := fmt.Sprintf("%s needs %s, %s are free", e.What, gigabytes(e.Need), gigabytes(e.Free))
	if e.Fits != "" {
		s += ": " + e.Fits
	}
	return s
}

func gigabytes(n int) string {
	if n < 1e9 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// FreeMemory is what a device has free, in bytes; 0 where the system does not
// say.
func FreeMemory(d engine.Device) int {
	if c, ok := cuda.On(d); ok {
		free, _, err := c.Memory()
		if err != nil {
			return 0
		}
		return free
	}
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kb int
		if rest, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			fmt.Sscan(rest, &kb)
			return kb << 10
		}
	}
	return 0
}

// weigh is what nets of a source take on a device, in bytes, by the shapes in
// the files.
func weigh(src Source, dev engine.Device, parts map[string]string) (int, error) {
	sum := 0
	for folder, part := range parts {
		_, l, files, err := src.part(dev, folder, part)
		if err != nil {
			return 0, err
		}
		for _, e := range l.Set().Entries() {
			if safetensors.Width(e.DType) > 0 {
				sum += e.Shape.Elems() * dev.Float().Size()
			}
		}
		if err := files.Close(); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// fits refuses nets that a GPU has no room for, before they are loaded. work
// says what the nets, opened on a device that only counts, need beside their
// weights of what is then free.
func fits(src Source, dev engine.Device, parts map[string]string, work func(dry engine.Device, free int) error) error {
	if dev.Local() || engine.IsDryRun(dev) {
		return nil
	}
	weights, err := weigh(src, dev, parts)
	if err != nil {
		return err
	}
	free := FreeMemory(dev)
	if weights > free {
		return fmt.Errorf("%s: %w", dev.Name(), &MemoryError{What: "the weights of " + src.String(), Need: weights, Free: free})
	}
	if work == nil {
		return nil
	}
	if err := work(engine.DryRunOf(dev), free-weights); err != nil {
		return fmt.Errorf("%s, beside %s of weights: %w", dev.Name(), gigabytes(weights), err)
	}
	return nil
}
