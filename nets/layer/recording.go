package layer

import (
	"parley/engine"
	"parley/engine/cuda"
)

// Recording runs the same operations on the same tensors again and again. On a
// GPU the second run is recorded as a graph and later ones replay it, which
// spares the host the launch of each kernel. Run neither uploads nor downloads:
// what changes from run to run lies in tensors that are set before.
type Recording struct {
	Run   func() (*engine.Tensor, error)
	Plain bool // never record

	ran   int
	graph *cuda.Graph
	out   *engine.Tensor
}

// Next runs the operations. The result is good until the next call, or Free.
func (r *Recording) Next(s *engine.Stream) (*engine.Tensor, error) {
	r.ran++
	c, ok := cuda.On(s.Device())
	if !ok || r.ran == 1 || r.Plain || s.Recording() {
		s.Free(r.out)
		var err error
		r.out, err = r.Run()
		return r.out, err
	}
	if r.graph == nil {
		s.Free(r.out)
		r.out = nil
		var inner error
		g, err := c.Capture(s, func() { r.out, inner = r.Run() })
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

// Free gives the graph back, and the last result.
func (r *Recording) Free(s *engine.Stream) {
	s.Free(r.out)
	r.out = nil
	if r.graph != nil {
		r.graph.Free()
		r.graph = nil
	}
}
