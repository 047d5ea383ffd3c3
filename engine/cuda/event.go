//go:build cuda

package cuda

import (
	"errors"
	"math"
	"time"

	"gorgonia.org/cu"

	"parley/engine"
	"parley/engine/cuda/driver"
)

// event is a moment in the device's work.
type event struct {
	d        *Device
	event    cu.Event
	captured bool // happens at each launch of a graph
	free     bool
}

// Event implements engine.EventTimer. It tells times to half a microsecond; those
// of the interpreter are no times, but a count of what it did (ptx.Machine.Clock)
// as nanoseconds.
func (d *Device) Event() (engine.Event, error) {
	captured := d.recording() != nil
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	var e *event
	if n := len(d.events); n > 0 {
		e = d.events[n-1]
		d.events = d.events[:n-1]
	} else {
		e = &event{d: d}
		var err error
		if e.event, err = cu.MakeEvent(cu.DefaultEvent); err != nil {
			return nil, d.failed("make an event", err)
		}
	}
	q, _ := d.queue(false)
	var err error
	if captured {
		err = driver.RecordInGraph(e.event, q)
	} else {
		err = e.event.Record(q)
	}
	if err != nil {
		e.free = true
		d.events = append(d.events, e)
		return nil, d.failed("record an event", err)
	}
	e.captured, e.free = captured, false
	d.timed++
	return e, nil
}

// Since implements engine.Event.
func (e *event) Since(earlier engine.Event) (took time.Duration, err error) {
	from, ok := earlier.(*event)
	if !ok || from.d != e.d {
		return 0, errors.New("cuda: events of two devices have no time between them")
	}
	err = e.d.wait("time events", func() error {
		happened := e.event.Synchronize
		if e.captured {
			// The graph's launch, and not the event, is what the host knows of.
			happened = e.d.work.Synchronize
		}
		if err := happened(); err != nil {
			return err
		}
		ms, err := from.event.Elapsed(e.event)
		took = time.Duration(math.Round(ms * float64(time.Millisecond)))
		return err
	})
	return took, err
}

// Free implements engine.Event.
func (e *event) Free() {
	e.d.mu.Lock()
	defer e.d.mu.Unlock()
	if !e.free {
		e.free = true
		e.d.timed--
		e.d.events = append(e.d.events, e)
	}
}
