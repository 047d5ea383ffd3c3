package roofline

import (
	"context"
	"fmt"

	"parley/engine"
	"parley/engine/cuda"
)

// Operation is one of a net's, with the launches that it made.
type Operation struct {
	engine.Span
	Shape    string // of the result
	Launches []cuda.Launched
}

// follower notes operations and their launches.
type follower struct {
	launches []cuda.Launched
	ops      []Operation
}

func (f *follower) launched(l cuda.Launched) bool {
	f.launches = append(f.launches, l)
	return true
}

// Observe implements engine.Observer.
func (f *follower) Observe(s engine.Span) {
	if s.Op == "" {
		return
	}
	o := Operation{Span: s, Launches: f.launches}
	if s.Out != nil {
		o.Shape = s.Out.Shape().String()
	}
	f.ops, f.launches = append(f.ops, o), nil
}

// Follow captures what run does as a graph and returns its operations, whose
// launches can be started again as long as the graph is there. It has to be freed.
func Follow(d *cuda.Device, s *engine.Stream, run func() error) (engine.Graph, []Operation, error) {
	var f follower
	var inner error
	s.Watch(nil, &f)
	d.Watch(f.launched)
	g, err := d.Capture(s, func() { inner = run() })
	d.Watch(nil)
	s.Watch(nil, nil)
	if err == nil {
		err = inner
	}
	return g, f.ops, err
}

// Start starts a launch that was noted, perhaps with other arguments.
func Start(d *cuda.Device, s *engine.Stream, l cuda.Launched) {
	start := d.Launch
	if l.Cooperative {
		start = d.LaunchCooperative
	}
	start(s, l.Module, l.Kernel, l.Grid, l.Block, l.Shared, l.Args...)
}

// Dry is the operations of what prepare returns on a device of that many
// multiprocessors that starts no launch.
func Dry(sms int, prepare func(s *engine.Stream) (run func() error, err error)) ([]Operation, error) {
	d, err := cuda.Open(cuda.Options{Emulated: true, SMs: sms})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var f follower
	d.Watch(func(l cuda.Launched) bool { f.launched(l); return false })
	s := engine.NewStream(context.Background(), d)
	defer s.Close()
	run, err := prepare(s)
	if err != nil {
		return nil, fmt.Errorf("a dry run: %w", err)
	}
	f = follower{}
	s.Watch(nil, &f)
	err = run()
	s.Watch(nil, nil)
	return f.ops, err
}
