package engine

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Device is where tensors lie and operations run.
type Device interface {
	// Name is what a person calls the device: "cpu", "cuda:0".
	Name() string
	// Float is the type that activations and weights have there: F32 or F16.
	Float() DType
	// Local reports whether the device works on the host's own memory.
	Local() bool
	// Alloc returns at least n bytes whose content is undefined.
	Alloc(n int) (Memory, error)
	// Free gives a block from Alloc back for reuse.
	Free(Memory)
	// Upload copies host bytes to a tensor, Download the other way.
	Upload(dst *Tensor, src []byte) error
	Download(dst []byte, src *Tensor) error
}

// Span is the record of one operation, or of the scope that holds several.
type Span struct {
	Path  string // "down_blocks.1.attentions.0.linear"
	Op    string // the operation's name; empty for a scope
	Out   *Tensor
	FLOPs int64
	Bytes int64 // read and written, at least
	Start time.Time
	Time  time.Duration
}

// Recorder receives every span when it ends. Out is valid during the call.
type Recorder interface{ Record(Span) }

// Work describes an operation to the recorder.
type Work struct {
	Op    string
	Out   *Tensor
	FLOPs int64
	Bytes int64
}

// Stream runs operations in order on one device. It keeps the first error:
// from then on operations only shape their outputs, so that a forward pass
// reads without error checks and its caller asks Err once. It is not for
// concurrent use.
type Stream struct {
	dev   Device
	ctx   context.Context
	err   error
	rec   Recorder
	path  []string
	start []time.Time
	used  int
	peak  int
	live  map[uintptr]Memory // what New has given and Free has not taken back
}

// NewStream returns a stream that stops between operations when ctx ends.
func NewStream(ctx context.Context, dev Device) *Stream {
	return &Stream{dev: dev, ctx: ctx}
}

// Device is where the stream's operations run.
func (s *Stream) Device() Device { return s.dev }

// Context is what cancels the stream.
func (s *Stream) Context() context.Context { return s.ctx }

// Attach sets the recorder of spans; nil records nothing and costs nothing.
func (s *Stream) Attach(r Recorder) { s.rec = r }

// Recording reports whether spans are recorded.
func (s *Stream) Recording() bool { return s.rec != nil }

// Err is the first error of an operation, or the context's.
func (s *Stream) Err() error {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
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
	t := NewTensor(dtype, Memory{}, dims...)
	n := t.Bytes()
	s.used += n
	s.peak = max(s.peak, s.used)
	if s.Err() != nil {
		return t
	}
	mem, err := s.dev.Alloc(n)
	if err != nil {
		s.Fail(fmt.Errorf("%s: a tensor of %v %v: %w", s.Path(), t.shape, dtype, err))
		return t
	}
	t.mem = mem
	if at := mem.at(); at != 0 {
		if s.live == nil {
			s.live = map[uintptr]Memory{}
		}
		s.live[at] = mem
	}
	return t
}

// Close gives back every tensor of New that is still there: after an error, or
// at the end of the work. Its users have copied what they want to keep.
func (s *Stream) Close() {
	for _, m := range s.live {
		s.dev.Free(m)
	}
	s.live = nil
}

// Free gives tensors of New back before the stream ends. Views of them are
// invalid from then on. A nil tensor is nothing to free, and one that is not of
// New, or was freed as another view, is let go.
func (s *Stream) Free(ts ...*Tensor) {
	for _, t := range ts {
		if t == nil {
			continue
		}
		s.used -= t.Bytes()
		if m, ok := s.live[t.mem.at()]; ok {
			s.dev.Free(m)
			delete(s.live, m.at())
		}
		t.mem = Memory{}
	}
}

// Float is the type of the device's activations.
func (s *Stream) Float() DType { return s.dev.Float() }

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
	out := s.New(dtype, t.shape...)
	if s.Err() == nil {
		if err := s.dev.Upload(out, Convert(dtype, t).mem.Host); err != nil {
			s.Fail(fmt.Errorf("%s: upload of %v %v: %w", s.Path(), t.shape, dtype, err))
		}
	}
	return out
}

// Set copies host values of its type and shape into a tensor of the stream.
func (s *Stream) Set(dst, t *Tensor) {
	if s.Err() != nil {
		return
	}
	if err := s.dev.Upload(dst, t.mem.Host); err != nil {
		s.Fail(fmt.Errorf("%s: upload of %v %v: %w", s.Path(), t.shape, t.dtype, err))
	}
}

// Get copies a tensor to the host; floating-point values become f32.
func (s *Stream) Get(t *Tensor) (*Tensor, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	out := NewTensor(t.dtype, Memory{Host: make([]byte, t.Bytes())}, t.shape...)
	if err := s.dev.Download(out.mem.Host, t); err != nil {
		return nil, fmt.Errorf("%s: download of %v %v: %w", s.Path(), t.shape, t.dtype, err)
	}
	if t.dtype == F16 || t.dtype == BF16 {
		out = Convert(F32, out)
	}
	return out, nil
}

// Path is where the stream is: the names of the open scopes.
func (s *Stream) Path() string { return strings.Join(s.path, ".") }

// Enter opens a scope; Leave closes it.
func (s *Stream) Enter(name string) {
	s.path = append(s.path, name)
	if s.rec != nil {
		s.start = append(s.start, time.Now())
	}
}

// Leave closes the innermost scope, whose result is out, and returns out.
func (s *Stream) Leave(out *Tensor) *Tensor {
	if s.rec != nil && len(s.start) > 0 {
		start := s.start[len(s.start)-1]
		s.start = s.start[:len(s.start)-1]
		if s.Err() == nil && out != nil {
			s.rec.Record(Span{Path: s.Path(), Out: out, Start: start, Time: time.Since(start)})
		}
	}
	s.path = s.path[:len(s.path)-1]
	return out
}

// Do runs an operation, unless the stream has failed, and returns w.Out. run
// looks at the device's type; a device that it does not know only counts.
func (s *Stream) Do(w Work, run func(Device)) *Tensor {
	if s.Err() != nil {
		return w.Out
	}
	if s.rec == nil {
		run(s.dev)
		return w.Out
	}
	start := time.Now()
	run(s.dev)
	path := w.Op
	if len(s.path) > 0 {
		path = s.Path() + "." + w.Op
	}
	s.rec.Record(Span{Path: path, Op: w.Op, Out: w.Out, FLOPs: w.FLOPs, Bytes: w.Bytes, Start: start, Time: time.Since(start)})
	return w.Out
}

// Counter is a device that holds nothing and runs nothing: a dry run on it
// tells what a computation will need on a GPU with activations of the type
// Elem, or on the host. Nets that are loaded for it have shapes and no values.
type Counter struct {
	Elem DType
	Host bool
}

// Like is a Counter that needs what d would need.
func Like(d Device) Counter { return Counter{Elem: d.Float(), Host: d.Local()} }

// Dry reports whether a device only counts.
func Dry(d Device) bool { _, ok := d.(Counter); return ok }

// Name implements Device.
func (Counter) Name() string { return "counter" }

// Float implements Device.
func (c Counter) Float() DType { return c.Elem }

// Local implements Device.
func (c Counter) Local() bool { return c.Host }

// Alloc implements Device.
func (Counter) Alloc(int) (Memory, error) { return Memory{}, nil }

// Free implements Device.
func (Counter) Free(Memory) {}

// Upload implements Device.
func (Counter) Upload(*Tensor, []byte) error { return nil }

// Download implements Device.
func (Counter) Download([]byte, *Tensor) error { return nil }
