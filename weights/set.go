// Package weights brings checkpoints from files to the tensors of nets: one
// Set whatever the format, and a Loader that nets read their parts from.
package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"

	"parley/engine"
	"parley/kernels/storage"
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
	// Metadata are the texts in the header of a safetensors file.
	Metadata map[string]string

	entries map[string]Entry
	names   []string
	closers []io.Closer
	files   []file // that the entries' data are mapped from
	notes   *notes
	origin  string // the file or folder, for messages
	fsys    fs.FS  // and dir: where it lies
	dir     string
}

// file is a file whose data are read as long as they are wanted.
type file interface{ Unchanged() error }

// notes are what sets of one checkpoint share.
type notes struct {
	mu   sync.Mutex
	list []string
}

// NewSet makes a set of entries. Close closes the closers. Where a name comes
// twice, the last entry is kept.
func NewSet(entries []Entry, closers ...io.Closer) *Set {
	s := &Set{entries: make(map[string]Entry, len(entries)), closers: closers, notes: &notes{}}
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
	out.About, out.Metadata, out.origin, out.fsys, out.dir = s.About, s.Metadata, s.origin, s.fsys, s.dir
	out.files, out.notes = s.files, s.notes
	return out
}

// Note keeps what was guessed about a checkpoint that does not say it, with
// what would settle it. Sets that With made of one another share their notes.
func (s *Set) Note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	if !slices.Contains(s.notes.list, text) {
		s.notes.list = append(s.notes.list, text)
	}
}

// Notes are what Note has kept: for people to read.
func (s *Set) Notes() []string {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	return slices.Clone(s.notes.list)
}

// Unchanged is an error where a file of the set is not any more what it was
// when it was opened.
func (s *Set) Unchanged() error {
	for _, f := range s.files {
		if err := f.Unchanged(); err != nil {
			return err
		}
	}
	return nil
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

// Close unmaps the files. What F32 gave are copies, which stay; the entries'
// data are not to be touched afterwards.
func (s *Set) Close() error {
	var errs []error
	for _, c := range s.closers {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	s.closers, s.files = nil, nil
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
	read  map[string]bool // names that were asked for
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

// Done says that what is wanted of tensors has been copied: their pages of the file
// leave the process' memory.
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

// entry finds a tensor. When it is missing or has another shape, the error is
// kept.
func (l *Loader) entry(name string, want engine.Shape) (Entry, bool) {
	l.faults.note(l.prefix + name)
	e, ok := l.set.entries[l.prefix+name]
	if !ok {
		l.Fail(&MissingError{Name: l.prefix + name, File: l.set.origin, Want: clone(want)})
		return e, false
	}
	if !e.Shape.Equal(want) {
		l.Fail(&ShapeError{Name: e.Name, File: e.File, Have: e.Shape, Want: clone(want)})
		return e, false
	}
	return e, true
}

// Source finds a tensor for a kernel to pack, which reads it while it packs: Done
// comes after that. When the tensor is missing, has another shape or is not of
// floating-point numbers, the error is kept and the source is nil.
func (l *Loader) Source(name string, dims ...int) storage.Source {
	e, ok := l.entry(name, dims)
	if !ok {
		return nil
	}
	if !engine.IsDryRun(l.dev) {
		if err := readable(e); err != nil {
			l.Fail(err)
			return nil
		}
	}
	return source{e}
}

// F32 reads a tensor as f32, a copy: whoever cuts the file later cuts nothing of
// the net's. When the tensor is missing or has another shape, the error is kept
// and the slice is nil.
func (l *Loader) F32(name string, dims ...int) []float32 {
	e, ok := l.entry(name, dims)
	if !ok {
		return nil
	}
	if engine.IsDryRun(l.dev) {
		return make([]float32, e.Shape.Elems()) // never touched, so it takes no memory
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

// Without says that a tensor, or all of a part, is of no use to the net: what
// Unread need not find read.
func (l *Loader) Without(name string) {
	full := l.prefix + name
	l.faults.note(full)
	for _, n := range l.set.names {
		if strings.HasPrefix(n, full+".") {
			l.faults.note(n)
		}
	}
}

// Unread keeps an error where tensors of this loader's names are left that nobody
// has asked for: a net that does not know them would compute something
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
// shares them with; nil when there was none and no file was written to while it
// was read.
func (l *Loader) Err() error {
	if err := l.set.Unchanged(); err != nil {
		return err // whatever else there is comes of it
	}
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
