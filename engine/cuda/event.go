//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"time"

	"gorgonia.org/cu"
)

// Mark is a moment in the device's work.
type Mark struct{ event cu.Event }

// Mark marks the moment when the device has done what it was given before.
func (d *Device) Mark() (Mark, error) {
	if d.recording() != nil {
		return Mark{}, errors.New("a mark within a graph")
	}
	if err := d.enter(); err != nil {
		return Mark{}, err
	}
	defer d.leave()
	var m Mark
	if n := len(d.marks); n > 0 {
		m.event = d.marks[n-1]
		d.marks = d.marks[:n-1]
	} else {
		var err error
		if m.event, err = cu.MakeEvent(cu.DefaultEvent); err != nil {
			return Mark{}, d.failed("make an event", err)
		}
	}
	if err := m.event.Record(d.work); err != nil {
		d.marks = append(d.marks, m.event)
		return Mark{}, d.failed("record an event", err)
	}
	return m, nil
}

// Elapsed is how long the device worked from one mark to another, to half a
// microsecond. It waits for the later one.
func (d *Device) Elapsed(from, to Mark) (time.Duration, error) {
	if err := d.wait("wait for an event", to.event.Synchronize); err != nil {
		return 0, err
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.leave()
	ms, err := from.event.Elapsed(to.event)
	if err != nil {
		return 0, d.failed("time events", fmt.Errorf("elapsed: %w", err))
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// Release gives marks back for reuse.
func (d *Device) Release(marks ...Mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range marks {
		if m != (Mark{}) {
			d.marks = append(d.marks, m.event)
		}
	}
}
