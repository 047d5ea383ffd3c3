package engine

// Graphed runs the same operations on the same tensors again and again. Where
// the device can, the second run is captured as a graph and later ones launch
// it, which spares the host the launch of each kernel. Run neither uploads nor
// downloads: what changes from run to run lies in tensors that are set before.
//
// Work that is recorded is captured as a graph of its own, which holds the events
// that time its operations. Work that is observed is never captured.
type Graphed struct {
	Run   func() (*Tensor, error)
	Eager bool // never capture

	ran             bool
	plain, recorded captured
	out             *Tensor
}

type captured struct {
	graph Graph
	out   *Tensor
	spans []timed // of a recorded one, timed anew by each launch
}

// Next runs the operations. The result is good until the next call, or Free.
func (g *Graphed) Next(s *Stream) (*Tensor, error) {
	dev, ok := As[Capturer](s.Device())
	if !ok || !g.ran || g.Eager || s.run.Observer != nil {
		s.Free(g.out)
		g.ran = true
		var err error
		g.out, err = g.Run()
		return g.out, err
	}
	s.Free(g.out)
	g.out = nil
	c := &g.plain
	if s.run.Recorder != nil {
		c = &g.recorded
	}
	if c.graph == nil {
		if err := g.capture(s, dev, c); err != nil {
			return nil, err
		}
	}
	s.flush()
	c.graph.Launch(s)
	if len(c.spans) > 0 && s.Err() == nil {
		s.deliver(c.spans, false)
	}
	return c.out, s.Err()
}

func (g *Graphed) capture(s *Stream, dev Capturer, c *captured) error {
	s.flush()
	var inner error
	graph, err := dev.Capture(s, func() { c.out, inner = g.Run() })
	c.spans, s.pending = s.pending, nil
	if err == nil {
		c.graph, err = graph, inner
	}
	return err
}

// Free gives the graphs back, and the last result.
func (g *Graphed) Free(s *Stream) {
	s.Free(g.out)
	g.out = nil
	for _, c := range []*captured{&g.plain, &g.recorded} {
		s.Free(c.out)
		if c.graph != nil {
			c.graph.Free()
		}
		for _, t := range c.spans {
			t.from.Free()
			t.to.Free()
		}
		*c = captured{}
	}
}
