package engine

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Stream runs operations in order on one device. It keeps the first error:
// from then on operations only shape their outputs, so that a forward pass
// reads without error checks and its caller asks Err once. It is not for
// concurrent use.
type Stream struct {
	run  Run
	err  error
	path []string // the open scopes

	used, peak int
	live       map[uintptr]block // what New has given and Free has not taken back, by Memory.at
	counted    uintptr           // where the next block lies of a device that only counts
	slab       []Tensor          // from which New takes tensors

	// What a recorder needs; all of it is empty without one.
	scopes  []mark
	kernel  string // of the operation under way
	inner   int    // bytes allocated since the operation under way began
	pending []timed
	timer   EventTimer
}

// block is the memory of a tensor of so many bytes.
type block struct {
	Memory
	bytes int
}

// mark is a moment: by the host's clock, and on the device's own.
type mark struct {
	at    time.Time
	event Event
}

// timed is a span whose time the device still has to tell.
type timed struct {
	span     Span
	from, to Event
}

// NewStream returns a stream that stops between operations when ctx ends, and
// that nobody records.
func NewStream(ctx context.Context, dev Device) *Stream { return NewRun(ctx).On(dev).Stream() }

// Bind makes the stream a part of another run, whose tensors it keeps: for
// streams that outlive a run. An error that the stream has is the earlier run's
// and is forgotten.
func (s *Stream) Bind(r Run) {
	s.flush()
	s.forget()
	s.run, s.err, s.path = r, nil, s.path[:0]
	s.timer = nil
	if r.Recorder != nil {
		s.timer, _ = As[EventTimer](r.Device)
	}
}

// Watch sets who records and who observes the stream from here on, outside of
// any scope that was opened before; nil is nobody.
func (s *Stream) Watch(r Recorder, o Observer) {
	path := s.path
	run := s.run
	run.Recorder, run.Observer = r, o
	s.Bind(run)
	s.path = path
}

// Run is what the stream is a part of.
func (s *Stream) Run() Run { return s.run }

// Device is where the stream's operations run.
func (s *Stream) Device() Device { return s.run.Device }

// Context is what cancels the stream; never nil.
func (s *Stream) Context() context.Context {
	if s.run.Context == nil {
		return context.Background()
	}
	return s.run.Context
}

// spans reports whether anybody wants to know what the stream does.
func (s *Stream) spans() bool { return s.run.Recorder != nil || s.run.Observer != nil }

// Err is the first error of an operation, or the context's.
func (s *Stream) Err() error {
	if s.err == nil {
		s.err = s.run.Err()
	}
	return s.err
}

// Fail keeps err, unless there is one already.
func (s *Stream) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Peak is the largest sum of bytes that tensors of New held at one time.
func (s *Stream) Peak() int { return s.peak }

// New allocates a tensor whose content is undefined.
func (s *Stream) New(dtype DType, dims ...int) *Tensor {
	t := s.tensor()
	t.set(dtype, Memory{}, dims)
	n := t.Bytes()
	s.inner += n
	if s.Err() != nil {
		return t
	}
	mem, err := s.run.Device.Alloc(n)
	if err != nil {
		s.Fail(s.wrap(err, "a tensor of", t))
		return t
	}
	if mem.at() == 0 && n > 0 { // a device that only counts: the address tells tensors apart
		mem.Addr = s.counted + 1
		s.counted += uintptr(n)
	}
	t.mem = mem
	if at := mem.at(); at != 0 {
		if s.live == nil {
			s.live = map[uintptr]block{}
		}
		s.live[at] = block{mem, n}
		s.used += n
		s.peak = max(s.peak, s.used)
	}
	return t
}

// tensor takes one of many that are allocated together: a step of a net makes
// hundreds of them.
func (s *Stream) tensor() *Tensor {
	if len(s.slab) == 0 {
		s.slab = make([]Tensor, 64)
	}
	t := &s.slab[0]
	s.slab = s.slab[1:]
	return t
}

// View is t.Reshape, in memory of the stream.
func (s *Stream) View(t *Tensor, dims ...int) *Tensor {
	v := s.tensor()
	v.set(t.dtype, t.mem, dims)
	if v.Elems() != t.Elems() {
		panic(fmt.Sprintf("engine: %v does not reshape to %v", t.Shape(), v.Shape()))
	}
	return v
}

// Rows is t.Rows, in memory of the stream.
func (s *Stream) Rows(t *Tensor, lo, hi int) *Tensor {
	v := s.tensor()
	v.rows(t, lo, hi)
	return v
}

func (s *Stream) wrap(err error, what string, t *Tensor) error {
	p := s.Path()
	if p != "" {
		p += ": "
	}
	return fmt.Errorf("%s%s %v %v: %w", p, what, t.Shape(), t.dtype, err)
}

// Close gives back every tensor of New that is still there: after an error, or
// at the end of the work. Its users have copied what they want to keep.
func (s *Stream) Close() {
	s.flush()
	s.forget()
	for _, b := range s.live {
		s.run.Device.Free(b.Memory)
	}
	s.live, s.used = nil, 0
}

// Free gives tensors of New back before the stream ends. Views of them are
// invalid from then on. A nil tensor is nothing to free, and one that is not of
// New, or was freed as another view, is let go.
func (s *Stream) Free(ts ...*Tensor) {
	for _, t := range ts {
		if t == nil {
			continue
		}
		if b, ok := s.live[t.mem.at()]; ok {
			s.run.Device.Free(b.Memory)
			delete(s.live, b.at())
			s.used -= b.bytes
		}
		t.mem = Memory{}
	}
}

// Float is the type of the device's activations.
func (s *Stream) Float() DType { return s.run.Device.Float() }

// Put copies host values to a new tensor of the stream: f32 values as
// activations, in the device's type.
func (s *Stream) Put(t *Tensor) *Tensor {
	if t.dtype == F32 {
		return s.PutAs(s.Float(), t)
	}
	return s.PutAs(t.dtype, t)
}

// PutAs is Put with the type that the values are to have: latents and what
// belongs to a channel are f32 on every device.
func (s *Stream) PutAs(dtype DType, t *Tensor) *Tensor {
	out := s.New(dtype, t.Shape()...)
	if s.Err() == nil {
		s.upload(out, Convert(dtype, t))
	}
	return out
}

// Set copies host values of its type and shape into a tensor of the stream.
func (s *Stream) Set(dst, t *Tensor) {
	if s.Err() == nil {
		s.upload(dst, t)
	}
}

func (s *Stream) upload(dst, t *Tensor) {
	work := Work{Op: "upload", Out: dst, In: Inputs{t}, Dims: Dims{{"elements", t.Elems()}}, Bytes: int64(t.Bytes() + dst.Bytes())}
	s.Do(work, func(d Device) {
		s.moves("memcpy HtoD")
		if err := d.Upload(dst, t.mem.Host); err != nil {
			s.Fail(s.wrap(err, "upload of", t))
		}
	})
}

// Copy copies the values of one tensor of the device to another of its size.
func (s *Stream) Copy(dst, src *Tensor) {
	work := Work{Op: "copy", Out: dst, In: Inputs{src}, Dims: Dims{{"elements", src.Elems()}}, Bytes: 2 * int64(src.Bytes())}
	s.Do(work, func(d Device) {
		s.moves("memcpy DtoD")
		c, ok := As[Copier](d)
		if !ok {
			return // a dry run
		}
		if err := c.Copy(dst, src); err != nil {
			s.Fail(s.wrap(err, "copy of", src))
		}
	})
}

// Get copies a tensor to the host; floating-point values become f32.
func (s *Stream) Get(t *Tensor) (*Tensor, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	out := NewTensor(t.dtype, Memory{Host: make([]byte, t.Bytes())}, t.Shape()...)
	var err error
	work := Work{Op: "download", Out: t, In: Inputs{t}, Dims: Dims{{"elements", t.Elems()}}, Bytes: 2 * int64(t.Bytes())}
	s.Do(work, func(d Device) {
		s.moves("memcpy DtoH")
		if e := d.Download(out.mem.Host, t); e != nil {
			err = s.wrap(e, "download of", t)
		}
	})
	if err == nil {
		err = s.err // the run ended before the copy
	}
	if err != nil {
		return nil, err
	}
	s.flush() // the device has done what it was given
	if t.dtype == F16 || t.dtype == BF16 {
		out = Convert(F32, out)
	}
	return out, nil
}

// Synchronize waits until the device has done what the stream gave it, and
// returns what went wrong meanwhile.
func (s *Stream) Synchronize() error {
	if s.Err() == nil {
		if d, ok := As[Synchronizer](s.run.Device); ok {
			s.Fail(d.Synchronize())
		}
	}
	s.flush()
	return s.Err()
}

// moves names a copy as profilers do.
func (s *Stream) moves(name string) {
	if s.run.Device.Local() {
		name = "memcpy"
	}
	s.Took(name)
}

// Path is where the stream is: the run's path and the names of the open scopes.
func (s *Stream) Path() string { return join(s.run.Path, strings.Join(s.path, ".")) }

// Enter opens a scope; Leave closes it.
func (s *Stream) Enter(name string) {
	s.path = append(s.path, name)
	if s.spans() {
		s.scopes = append(s.scopes, s.mark())
	}
}

// Leave closes the innermost scope, whose result is out (nil where it has none),
// and returns out.
func (s *Stream) Leave(out *Tensor) *Tensor {
	if n := len(s.scopes); n > 0 {
		from := s.scopes[n-1]
		s.scopes = s.scopes[:n-1]
		if s.Err() == nil {
			s.record(Span{Path: s.Path(), Work: Work{Out: out}}, from)
		} else {
			from.free()
		}
	}
	s.path = s.path[:len(s.path)-1]
	return out
}

// Do runs an operation, unless the stream has failed, and returns w.Out. run
// looks at the device's type; a device that it does not know only counts. An
// operation that run does in its course has a span of its own, and its workspace
// is a part of w's.
func (s *Stream) Do(w Work, run func(Device)) *Tensor {
	if s.Err() != nil {
		return w.Out
	}
	if !s.spans() {
		run(s.run.Device)
		return w.Out
	}
	kernel, inner := s.kernel, s.inner
	s.kernel, s.inner = "", 0
	from := s.mark()
	run(s.run.Device)
	s.record(Span{Path: join(s.Path(), w.Op), Work: w, Kernel: s.kernel, Workspace: s.inner}, from)
	s.kernel, s.inner = kernel, inner+s.inner
	return w.Out
}

// Took names a kernel or method that the operation under way takes. Several are
// joined in their order: "splitk_f16 + reduce_f16".
func (s *Stream) Took(kernel string) {
	switch {
	case !s.spans() || strings.HasSuffix(s.kernel, kernel):
	case s.kernel == "":
		s.kernel = kernel
	default:
		s.kernel += " + " + kernel
	}
}

// Uses counts bytes that the operation under way takes beside tensors that New
// gives it in its course: the workers' packed panels, or a workspace that was
// allocated before.
func (s *Stream) Uses(bytes int) { s.inner += bytes }

// mark is now.
func (s *Stream) mark() mark {
	m := mark{at: time.Now()}
	if s.timer != nil && s.Err() == nil {
		var err error
		if m.event, err = s.timer.Event(); err != nil {
			s.Fail(err)
		}
	}
	return m
}

// free gives the mark's event back.
func (m mark) free() {
	if m.event != nil {
		m.event.Free()
	}
}

// forget ends scopes that nobody will leave.
func (s *Stream) forget() {
	for _, m := range s.scopes {
		m.free()
	}
	s.scopes = s.scopes[:0]
}

// record hands on a span that began at a mark and ends now, or keeps it until
// the device tells its time.
func (s *Stream) record(sp Span, from mark) {
	sp.Start = from.at
	if o := s.run.Observer; o != nil {
		o.Observe(sp)
	}
	if s.run.Recorder == nil {
		return
	}
	if from.event == nil {
		sp.Time = time.Since(from.at)
		s.run.Recorder.Record(sp)
		return
	}
	to := s.mark()
	if to.event == nil {
		from.free()
		return
	}
	s.pending = append(s.pending, timed{sp, from.event, to.event})
}

// flush hands on the spans that wait for their times.
func (s *Stream) flush() {
	s.deliver(s.pending, true)
	s.pending = s.pending[:0]
}

// deliver asks the device how long spans took, and hands them on.
func (s *Stream) deliver(spans []timed, free bool) {
	for _, t := range spans {
		d, err := t.to.Since(t.from)
		if err != nil {
			s.Fail(err)
		} else {
			t.span.Time = d
			s.run.Recorder.Record(t.span)
		}
		if free {
			t.from.Free()
			t.to.Free()
		}
	}
}
