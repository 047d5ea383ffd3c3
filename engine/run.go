package engine

import (
	"context"
	"time"
)

// Run is what one piece of work carries down to every stream that it needs:
// what cancels it, where it runs, who records it, and how much memory it may
// take. It is a value: a part of the work that runs elsewhere or under another
// name gets a changed copy. Models are immutable and serve several runs at a
// time.
type Run struct {
	Context  context.Context // ends the work between two operations; nil never does
	Device   Device          // a model sets it to where its weights lie
	Recorder Recorder        // is told of every span and its time; nil costs nothing
	Observer Observer        // is shown every span's values; nil costs nothing
	Path     string          // what the paths of all spans begin with: "sd"
	Memory   int             // bytes that activations may take; 0: what the device has free
}

// NewRun is a run that nobody records, on a device that the model chooses.
func NewRun(ctx context.Context) Run { return Run{Context: ctx} }

// On is the run on a device.
func (r Run) On(d Device) Run {
	r.Device = d
	return r
}

// In is the run of a part of the work, whose paths get the name of the part.
func (r Run) In(name string) Run {
	r.Path = join(r.Path, name)
	return r
}

// Err is why the run has ended early, or nil.
func (r Run) Err() error {
	if r.Context == nil || r.Context.Err() == nil {
		return nil
	}
	return context.Cause(r.Context)
}

// Stream starts a stream of the run's operations.
func (r Run) Stream() *Stream {
	s := &Stream{}
	s.Bind(r)
	return s
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// Recorder receives every span once its time is known: at once where the
// device works on the host's own thread, and when a stream next waits for its
// device or closes where it does not. Only shapes and types of the span's
// tensors are valid then. Spans of one stream come in the order in which they
// ended.
type Recorder interface{ Record(Span) }

// Observer receives every span when its work has been given to the device,
// before anything overwrites the tensors that it gives: they can be read then.
// The span's time is not known yet. Work that somebody observes is never
// replayed as a graph.
type Observer interface{ Observe(Span) }

// Span is the record of one operation, or of the scope that holds several.
type Span struct {
	Path string // "down_blocks.1.attentions.0.linear"
	Work        // of a scope: Op is empty
	// Kernel is the method that the operation took: a kernel's entry name, or a
	// method on the host: "winograd f4".
	Kernel    string
	Workspace int // bytes that the operation allocated beside Out
	Start     time.Time
	Time      time.Duration // by the device's own clock, where it has one
}

// Work describes an operation to the recorder.
type Work struct {
	Op    string  // the operation's name: "conv"
	Out   *Tensor // what it gives or changes; nil for a scope without a result
	In    Inputs  // what it reads beside weights
	Dims  Dims    // the sizes that its cost depends on
	FLOPs int64   // of the method in the textbook; a multiply-add counts as two
	Bytes int64   // read and written at least, weights as they are stored
}

// Inputs are tensors that an operation reads. Unused places are nil.
type Inputs [8]*Tensor

// Dim is a size by its usual name: "m", "heads", "keys".
type Dim struct {
	Name string
	Size int
}

// Dims are the sizes of an operation. Unused places have no name.
type Dims [8]Dim

// Of is the size of a name, 0 where there is none.
func (d *Dims) Of(name string) int {
	for _, e := range d {
		if e.Name == name {
			return e.Size
		}
	}
	return 0
}
