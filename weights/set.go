// Package weights brings checkpoints from files to the tensors of nets: one
// Set whatever the format, and a Loader that nets read their parts from.
package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"

	"parley/engine"
	"parley/weights/safetensors"
)

// Entry is a tensor as it lies in a file: raw little-endian bytes, often a
// mapping of the file, and only to be read.
type Entry = safetensors.Tensor

// Set is the tensors of a checkpoint by name.
type Set struct {
	// About is what a checkpoint says beside its tensors, or what was gathered
	// of it: "global_step" of a pickle of a training.
	About Config

	entries map[string]Entry
	names   []string
	closers []io.Closer
	origin  string // the file or folder, for messages
	fsys    fs.FS  // and dir: where it lies
	dir     string
}

// NewSet makes a set of entries. Close closes the closers. Where a name comes
// twice, the last entry is kept.
func NewSet(entries []Entry, closers ...io.Closer) *Set {
	s := &Set{entries: make(map[string]Entry, len(entries)), closers: closers}
	for _, e := range entries {
		if _, twice := s.entries[e.Name]; !twice {
			s.names = append(s.names, e.Name)
		}
		s.entries[e.Name] = e
		if s.origin == "" {
			s.origin = e.File
		}
	}
	sort.Strings(s.names)
	return s
}

// With is a set of other entries that is for the rest as s, which stays to be
// closed.
func (s *Set) With(entries []Entry) *Set {
	out := NewSet(entries)
	out.About, out.origin, out.fsys, out.dir = s.About, s.origin, s.fsys, s.dir
	return out
}

// Names lists the tensors, sorted; the caller does not change the list.
func (s *Set) Names() []string { return s.names }

// Len is the number of tensors.
func (s *Set) Len() int { return len(s.names) }

// Entry finds a tensor.
func (s *Set) Entry(name string) (Entry, bool) {
	e, ok := s.entries[name]
	return e, ok
}

// Entries lists the tensors sorted by name.
func (s *Set) Entries() []Entry {
	list := make([]Entry, len(s.names))
	for i, name := range s.names {
		list[i] = s.entries[name]
	}
	return list
}

// Origin is the file or folder that the set was opened from.
func (s *Set) Origin() string { return s.origin }

// Beside reads a configuration that lies in the checkpoint's folder; without
// one the error is fs.ErrNotExist.
func (s *Set) Beside(name string) (Config, error) {
	if s.fsys == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return ReadConfig(s.fsys, path.Join(s.dir, name))
}

// Close unmaps the files. What was read in place, f32 tensors among it, is not
// to be touched afterwards.
func (s *Set) Close() error {
	var errs []error
	for _, c := range s.closers {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Loader is a loader at the root of the set's names, for nets on a device.
func (s *Set) Loader(d engine.Device) *Loader {
	return &Loader{set: s, dev: d, faults: &faults{}}
}

// Loader reads the tensors of a net's parts by name. It keeps the errors, so
// that a net is built without a check at each tensor and asks Err once, at the
// end. It may be used by several goroutines.
type Loader struct {
	set    *Set
	dev    engine.Device
	prefix string
	faults *faults
}

// shownFaults is how many errors Err names one by one.
const shownFaults = 8

// faults is what loaders of one root share.
type faults struct {
	mu    sync.Mutex
	errs  []error
	count int
	read  map[string]bool // names that F32 was asked for
}

// In is the loader of a part: its tensors' names begin with "name.". It shares
// the errors.
func (l *Loader) In(name string) *Loader {
	if name == "" {
		return l
	}
	return &Loader{set: l.set, dev: l.dev, prefix: l.prefix + name + ".", faults: l.faults}
}

// Prefix is what the names of this loader's tensors begin with: "" or a name
// with a final dot.
func (l *Loader) Prefix() string { return l.prefix }

// Set is the set that is read.
func (l *Loader) Set() *Set { return l.set }

// Device is where the net's weights are to lie.
func (l *Loader) Device() engine.Device { return l.dev }

// Done says that what F32 gave of tensors has been copied: their pages of the
// file leave the process' memory.
func (l *Loader) Done(names ...string) {
	for _, name := range names {
		safetensors.Forget(l.set.entries[l.prefix+name].Data)
	}
}

// Vector reads a tensor as f32 and places it on the device: what belongs to a
// channel, such as a bias.
func (l *Loader) Vector(name string, dims ...int) *engine.Tensor {
	return l.Place(engine.F32, l.F32(name, dims...), dims...)
}

// Table reads a tensor and places it on the device, in the type of activations:
// what rows are taken from.
func (l *Loader) Table(name string, dims ...int) *engine.Tensor {
	return l.Place(l.dev.Float(), l.F32(name, dims...), dims...)
}

// Place brings values to the device. When there is no room for them, the error
// is kept and the tensor has no memory.
func (l *Loader) Place(dtype engine.DType, values []float32, dims ...int) *engine.Tensor {
	if engine.Shape(dims).Elems() != len(values) { // the error is kept already
		return engine.NewTensor(dtype, engine.Memory{}, dims...)
	}
	t, err := engine.Place(l.dev, dtype, engine.FromF32(values, dims...))
	if err != nil {
		l.Fail(fmt.Errorf("%s: %w", l.prefix, err))
		return engine.NewTensor(dtype, engine.Memory{}, dims...)
	}
	return t
}

// Has reports whether there is such a tensor.
func (l *Loader) Has(name string) bool {
	_, ok := l.set.entries[l.prefix+name]
	return ok
}

// HasIn reports whether any tensor's name begins with "name.".
func (l *Loader) HasIn(name string) bool {
	p := l.In(name).prefix
	i := sort.SearchStrings(l.set.names, p)
	return i < len(l.set.names) && strings.HasPrefix(l.set.names[i], p)
}

// Shape is the shape of a tensor, if there is one.
func (l *Loader) Shape(name string) (engine.Shape, bool) {
	e, ok := l.set.entries[l.prefix+name]
	return e.Shape, ok
}

// F32 reads a tensor as f32. Its data are the file's own, only to be read,
// where they are f32 already, and converted from f16, bf16 or f64 elsewhere.
// When the tensor is missing or has another shape, the error is kept and the
// slice is nil.
func (l *Loader) F32(name string, dims ...int) []float32 {
	want := engine.Shape(dims)
	l.faults.note(l.prefix + name)
	e, ok := l.set.entries[l.prefix+name]
	if !ok {
		l.Fail(&MissingError{Name: l.prefix + name, File: l.set.origin, Want: clone(want)})
		return nil
	}
	if !e.Shape.Equal(want) {
		l.Fail(&ShapeError{Name: e.Name, File: e.File, Have: e.Shape, Want: clone(want)})
		return nil
	}
	if engine.IsDryRun(l.dev) {
		return make([]float32, want.Elems()) // never touched, so it takes no memory
	}
	data, err := F32(e)
	if err != nil {
		l.Fail(err)
		return nil
	}
	return data
}

func (f *faults) note(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read == nil {
		f.read = map[string]bool{}
	}
	f.read[name] = true
}

// Unread keeps an error where tensors of this loader's names are left that no
// F32 has asked for: a net that does not know them would compute something
// else. why says what the net is.
func (l *Loader) Unread(why string) {
	var left []string
	l.faults.mu.Lock()
	for _, name := range l.set.names {
		own, ok := strings.CutPrefix(name, l.prefix)
		if !ok || l.faults.read[name] || strings.HasPrefix(own, "loss.") || strings.HasSuffix(own, "num_batches_tracked") {
			continue // a training's remains change nothing
		}
		left = append(left, name)
	}
	l.faults.mu.Unlock()
	if len(left) == 0 {
		return
	}
	e := l.set.entries[left[0]]
	more := ""
	if len(left) > 1 {
		more = fmt.Sprintf(", nor for %d more", len(left)-1)
	}
	l.Fail(fmt.Errorf("%s %v: %s has no use for it%s%s", left[0], e.Shape, why, more, in(e.File)))
}

func clone(s engine.Shape) engine.Shape { return append(engine.Shape{}, s...) }

// Fail keeps an error.
func (l *Loader) Fail(err error) {
	if err == nil {
		return
	}
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	l.faults.count++
	if len(l.faults.errs) < shownFaults {
		l.faults.errs = append(l.faults.errs, err)
	}
}

// Err joins the first errors that were kept by this loader and those that it
// shares them with; nil when there was none.
func (l *Loader) Err() error {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	errs := append([]error(nil), l.faults.errs...)
	if more := l.faults.count - len(errs); more > 0 {
		errs = append(errs, fmt.Errorf("and %d more errors", more))
	}
	return errors.Join(errs...)
}

// MissingError says that a checkpoint lacks a tensor.
type MissingError struct {
	Name, File string
	Want       engine.Shape
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: missing, want %v%s", e.Name, e.Want, in(e.File))
}

// ShapeError says that a tensor has another shape than the net.
type ShapeError struct {
	Name, File string
	Have, Want engine.Shape
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("%s: have %v, want %v%s", e.Name, e.Have, e.Want, in(e.File))
}

func in(file string) string {
	if file == "" {
		return ""
	}
	return " (" + file + ")"
}
