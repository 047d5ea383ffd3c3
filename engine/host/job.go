package host

import "sync"

// Job is work in pieces that do not depend on each other. Unlike a closure it can be
// used again, so that an operation of a net allocates nothing: see Scratch.
type Job interface{ Do(i int) }

// RangeJob is work on items of which a piece takes several.
type RangeJob interface{ DoRange(lo, hi int) }

type function func(i int)

func (f function) Do(i int) { f(i) }

type rangeFunction func(lo, hi int)

func (f rangeFunction) DoRange(lo, hi int) { f(lo, hi) }

// Run calls j.Do(i) for every i below n, on all workers; which worker takes which i
// depends on who is free. Do does not call Run.
func (d *Device) Run(n int, j Job) {
	helpers := min(d.workers, n) - 1
	if helpers <= 0 {
		for i := range n {
			j.Do(i)
		}
		return
	}
	d.pool.do(n, helpers, j)
}

// RunRange splits n items in even runs of at least grain items, one call each.
func (d *Device) RunRange(n, grain int, j RangeJob) {
	if n <= 0 {
		return
	}
	r := Scratch[ranged](d)
	r.j, r.n, r.parts = j, n, max(1, min(4*d.workers, n/max(grain, 1)))
	d.Run(r.parts, r)
	r.j = nil
	Recycle(d, r)
}

type ranged struct {
	j        RangeJob
	n, parts int
}

func (r *ranged) Do(i int) { r.j.DoRange(i*r.n/r.parts, (i+1)*r.n/r.parts) }

// For is Run of a function.
func (d *Device) For(n int, f func(i int)) { d.Run(n, function(f)) }

// Range is RunRange of a function.
func (d *Device) Range(n, grain int, f func(lo, hi int)) { d.RunRange(n, grain, rangeFunction(f)) }

// Scratch lends a value that operations on the device have given back by Recycle, as
// they left it, or a new one.
func Scratch[T any](d *Device) *T {
	if p, ok := d.scratch.Load((*T)(nil)); ok {
		if v := p.(*sync.Pool).Get(); v != nil {
			return v.(*T)
		}
	}
	return new(T)
}

// Recycle gives a value of Scratch back. It keeps nothing alive that its user does
// not want to live.
func Recycle[T any](d *Device, v *T) {
	p, ok := d.scratch.Load((*T)(nil))
	if !ok {
		p, _ = d.scratch.LoadOrStore((*T)(nil), &sync.Pool{})
	}
	p.(*sync.Pool).Put(v)
}
