package models

import (
	"parley/engine"
	"parley/engine/cuda"
)

// recording runs the same operations on the same tensors again and again. On a
// GPU the second run is recorded as a graph and later ones replay it, which
// spares the host the launch of each kernel.
type recording struct {
	steps int // how often it will run
	run   func() (*engine.Tensor, error)

	ran   int
	graph *cuda.Graph
	out   *engine.Tensor
}

// next runs the operations and returns their result, which is good until done.
func (r *recording) next(s *engine.Stream) (*engine.Tensor, error) {
	r.ran++
	c, ok := cuda.On(s.Device())
	if !ok || r.ran == 1 || r.steps < 3 || s.Recording() {
		return r.run()
	}
	if r.graph == nil {
		var inner error
		g, err := c.Capture(s, func() { r.out, inner = r.run() })
		if err != nil {
			return nil, err
		}
		r.graph = g
		if inner != nil {
			return nil, inner
		}
	}
	r.graph.Launch(s)
	return r.out, s.Err()
}

// done gives a result of next back.
func (r *recording) done(s *engine.Stream, t *engine.Tensor) {
	if r.graph == nil {
		s.Free(t)
	}
}

// free gives the graph back, and what it writes to.
func (r *recording) free(s *engine.Stream) {
	if r.graph != nil {
		s.Free(r.out)
		r.graph.Free()
	}
}
