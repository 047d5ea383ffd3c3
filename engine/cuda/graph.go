//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"parley/engine"
	"parley/engine/cuda/driver"
)

// Graph is a captured sequence of launches, which the device runs again
// without the host's work for each. It keeps the memory that was allocated
// while it was captured, so that the addresses in it stay good.
type Graph struct {
	d    *Device
	g    driver.Graph
	free map[int][]uintptr // blocks that it keeps, by class
	done bool
}

func (g *Graph) keep(addr uintptr, class int) {
	g.free[class] = append(g.free[class], addr)
}

// capture is a graph being captured: what the thread does is recorded.
type capture struct {
	graph  *Graph
	thread int
}

// Capture records what f launches through s as a graph, without running it.
// f works in the calling goroutine only, allocates and frees as ever, and
// neither uploads nor downloads. Tensors that f leaves are the graph's outputs:
// each launch fills them anew, until the graph is freed; tensors from before
// are read and written where they are. f should have run once before, so that
// its kernels are loaded and memory of its sizes is at hand. Other goroutines
// go on meanwhile.
func (d *Device) Capture(s *engine.Stream, f func()) (engine.Graph, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	if d.recording() != nil {
		return nil, errors.New("capture a graph: within a capture")
	}
	d.captures.Lock()
	defer d.captures.Unlock()
	// The thread is how this goroutine's calls are told from others'.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g := &Graph{d: d, free: map[int][]uintptr{}}
	if err := d.begin(g); err != nil {
		return nil, fmt.Errorf("capture a graph: %w", err)
	}
	err := d.end(g, s, f)
	if err != nil {
		g.Free()
		return nil, fmt.Errorf("capture a graph: %w", err)
	}
	return g, nil
}

func (d *Device) begin(g *Graph) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if err := driver.BeginCapture(d.recorder.Stream); err != nil {
		return d.failed("begin a capture", err)
	}
	d.recorder.kernel = false
	d.capturing.Store(&capture{graph: g, thread: syscall.Gettid()})
	return nil
}

// end runs f and ends the capture, also when f panics.
func (d *Device) end(g *Graph, s *engine.Stream, f func()) (err error) {
	defer func() {
		d.capturing.Store(nil)
		if e := d.enter(); e != nil {
			err = errors.Join(s.Err(), e)
			return
		}
		defer d.leave()
		var e error
		g.g, e = driver.EndCapture(d.recorder.Stream)
		if err = s.Err(); err == nil {
			err = d.failed("end a capture", e)
		}
	}()
	f()
	return
}

// Launch runs the graph after what the device was given before. It is not for
// use in a capture.
func (g *Graph) Launch(s *engine.Stream) {
	if s.Err() != nil {
		return
	}
	if err := g.launch(); err != nil {
		if p := s.Path(); p != "" {
			err = fmt.Errorf("%s: %w", p, err)
		}
		s.Fail(err)
	}
}

func (g *Graph) launch() error {
	d := g.d
	if d.recording() != nil {
		return errors.New("a graph within a graph")
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if g.done {
		return errors.New("the graph was freed")
	}
	q, _ := d.queue(false)
	return d.failed("launch a graph", g.g.Launch(q))
}

// Free gives the graph back and the memory that it kept. Outputs stay until
// they are freed themselves.
func (g *Graph) Free() {
	d := g.d
	if d.enter() != nil {
		return
	}
	defer d.leave()
	if g.done {
		return
	}
	g.done = true
	if g.g != (driver.Graph{}) {
		_ = d.failed("free a graph", g.g.Destroy()) // remembered if it is the end
	}
	for class, l := range g.free {
		for _, addr := range l {
			d.memory.graphs -= class
			_ = d.failed("free memory", d.memory.keep(addr, class))
		}
	}
	g.free = nil
	for _, b := range d.memory.live {
		if b.graph == g {
			b.graph = nil
		}
	}
}
