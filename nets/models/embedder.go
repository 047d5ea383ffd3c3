package models

import (
	"slices"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/nets/finite"
	"parley/weights"
)

// embedder is a net of one input and one output, a row for each item, with what
// holds it.
type embedder[T any] struct {
	// Net is the net itself.
	Net T

	name    string // what a person calls it
	device  engine.Device
	files   *files
	weights *engine.AllocationScope
}

// openEmbedder loads one part of a checkpoint; folder is its own within the source,
// if there is one.
func openEmbedder[T any](src Source, dev engine.Device, name, folder, part string,
	build func(weights.Config, *weights.Loader) (T, error)) (e embedder[T], err error) {
	f := src.open()
	defer f.closeUnless(&err)
	if err := f.fits(dev, map[string]string{folder: part}, nil); err != nil {
		return e, err
	}
	on, scope := engine.Scope(dev)
	defer freeUnless(scope, &err)
	net, err := load(f, on, folder, part, build)
	return embedder[T]{Net: net, name: name, device: dev, files: f, weights: scope}, err
}

// Close gives the weights back. The model is of no use after it.
func (e *embedder[T]) Close() {
	e.weights.FreeAll()
	_ = e.files.Close()
}

// embed gives [n, width] of batches of items, each of which comes once. Where rows
// are not finite, the error is finite.Items beside the others, and they are zeros.
func (e *embedder[T]) embed(run engine.Run, n, width int, batches [][]int,
	some func(s *engine.Stream, items []int) (*engine.Tensor, error)) (*tensor.Dense, error) {
	if n == 0 {
		return tensor.New(tensor.WithShape(0, width), tensor.Of(tensor.Float32)), nil
	}
	run = run.On(e.device)
	all := make([]float32, n*width)
	failed := finite.Items{}
	for _, items := range batches {
		if err := run.Err(); err != nil {
			return nil, err
		}
		rows, err := e.batch(run, items, some)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			row := rows[i*width : (i+1)*width]
			if slices.ContainsFunc(row, func(v float32) bool { return v-v != 0 }) {
				failed[item] = finite.Find(run, e.name, func(run engine.Run) error {
					_, err := e.batch(run, []int{item}, some)
					return err
				})
				continue
			}
			copy(all[item*width:], row)
		}
	}
	m := tensor.New(tensor.WithShape(n, width), tensor.WithBacking(all))
	if len(failed) > 0 {
		return m, failed
	}
	return m, nil
}

func (e *embedder[T]) batch(run engine.Run, items []int,
	some func(s *engine.Stream, items []int) (*engine.Tensor, error)) ([]float32, error) {
	s := run.Stream()
	defer s.Close()
	y, err := some(s, items)
	if err != nil {
		return nil, err
	}
	h, err := s.Get(y)
	if err != nil {
		return nil, err
	}
	return h.F32(), nil
}

// inOrder are batches of up to size of n items.
func inOrder(n, size int) (out [][]int) {
	for lo := 0; lo < n; lo += size {
		var some []int
		for i := lo; i < min(lo+size, n); i++ {
			some = append(some, i)
		}
		out = append(out, some)
	}
	return out
}
