package models

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"parley/engine"
	"parley/kernels/matmul"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/inversion"
	"parley/weights/safetensors"
)

// files are a source whose checkpoint files have been opened, each once: to be
// weighed, to be tried in a dry run, and to be loaded. Tensors that are used as
// they lie in a file are mapped until Close.
type files struct {
	src  Source
	sets map[string]checkpoint // by path
	all  []*weights.Set

	others     map[string]Source      // parts that come from elsewhere
	embeddings []*inversion.Embedding // what is put behind the text encoder's words
}

// checkpoint is a file or folder with its parts.
type checkpoint struct {
	set   *weights.Set
	parts map[string]*weights.Set
}

func (s Source) open() *files { return &files{src: s, sets: map[string]checkpoint{}} }

// Close unmaps everything. It may be called twice.
func (f *files) Close() error {
	var errs []error
	for _, s := range f.all {
		errs = append(errs, s.Close())
	}
	f.all, f.sets = nil, map[string]checkpoint{}
	return errors.Join(errs...)
}

// closeUnless closes where *err is not nil, for a defer.
func (f *files) closeUnless(err *error) {
	if *err != nil {
		*err = errors.Join(*err, f.Close())
	}
}

// freeUnless gives weights back where *err is not nil, for a defer.
func freeUnless(scope *engine.AllocationScope, err *error) {
	if *err != nil {
		scope.FreeAll()
	}
}

// part is one net of the checkpoint: its configuration and its tensors, from the
// folder of the name, or from the source itself.
func (f *files) part(folder, part string) (weights.Config, *weights.Set, error) {
	s, other := f.others[part]
	if !other {
		s = f.src
	}
	if in, ok := s.in(folder); ok {
		s = in
	} else if !other && s.has("model_index.json") || s.hasFolder(convert.UNet, convert.VAE, convert.TextEncoder) {
		return nil, nil, fmt.Errorf("%s: no %s: there is no folder %s/", s, part, folder)
	}
	key := path.Join(s.path, s.dir)
	c, ok := f.sets[key]
	if !ok {
		var err error
		if s.path == "" {
			c.set, err = weights.OpenFS(s.fsys, s.dir)
		} else {
			c.set, err = weights.OpenVariant(s.path, s.Variant)
		}
		if err != nil {
			return nil, nil, err
		}
		f.all = append(f.all, c.set)
		if c.parts, err = convert.Canonical(c.set); err != nil {
			return nil, nil, err
		}
		f.sets[key] = c
	}
	own, ok := c.parts[part]
	if !ok {
		var have []string
		for p := range c.parts {
			have = append(have, p)
		}
		return nil, nil, fmt.Errorf("%s: no %s in it; it holds %v", s, part, have)
	}
	var config weights.Config
	var err error
	if !s.file && s.has("config.json") {
		config, err = weights.ReadConfig(s.fsys, path.Join(s.dir, "config.json"))
	} else {
		config, err = s.Assume.Config(part, own)
		// Files under their makers' names say all that there is to know.
		if part != convert.CLIP && part != convert.BLIP && !s.file && s.Note != nil {
			s.Note(fmt.Sprintf("%s has no config.json: what its tensors do not tell is assumed to be as in the published models", s))
		}
	}
	if err == nil {
		s.notes(c.set)
	}
	return config, own, err
}

// load builds one net, with its weights on a device. One that fails leaves nothing
// there.
func load[T any](f *files, dev engine.Device, folder, part string, build func(weights.Config, *weights.Loader) (T, error)) (T, error) {
	var none T
	dev, scope := engine.Scope(dev)
	c, set, err := f.part(folder, part)
	if err != nil {
		return none, err
	}
	net, err := build(c, set.Loader(dev))
	if err != nil {
		scope.FreeAll()
		return none, fmt.Errorf("load %s from %s: %w", part, f.src, err)
	}
	return net, nil
}

// Load builds one part of a checkpoint, one of convert's, from the folder of a
// name or from the source itself. close gives back its weights and its files.
func Load[T any](src Source, dev engine.Device, folder, part string, build func(weights.Config, *weights.Loader) (T, error)) (
	net T, close func(), err error) {
	f := src.open()
	defer f.closeUnless(&err)
	on, scope := engine.Scope(dev)
	defer freeUnless(scope, &err)
	net, err = load(f, on, folder, part, build)
	return net, func() {
		scope.FreeAll()
		_ = f.Close()
	}, err
}

// learned puts the vectors of textual inversion behind the rows of a text encoder's
// embedding, and says how many words it had before.
func (f *files) learned(c weights.Config, l *weights.Loader) (weights.Config, *weights.Loader, int, error) {
	const suffix = "embeddings.token_embedding.weight"
	entries := l.Set().Entries()
	i := slices.IndexFunc(entries, func(e weights.Entry) bool { return strings.HasSuffix(e.Name, suffix) && len(e.Shape) == 2 })
	if i < 0 || len(f.embeddings) == 0 {
		return c, l, 0, nil // what is missing, the net will say
	}
	e := entries[i]
	words, width := e.Shape[0], e.Shape[1]
	all, err := weights.F32(e)
	if err != nil {
		return nil, nil, 0, err
	}
	for _, x := range f.embeddings {
		if err := x.Fits(width); err != nil {
			return nil, nil, 0, err
		}
		all = append(all, x.Vectors...)
	}
	t := engine.FromF32(all, len(all)/width, width)
	e.DType, e.Shape, e.Data = "F32", t.Shape(), t.Memory().Host
	entries[i] = e
	if c.Has("text_config") {
		if c, err = c.Sub("text_config"); err != nil {
			return nil, nil, 0, err
		}
	}
	c = maps.Clone(c)
	c["vocab_size"] = float64(len(all) / width)
	return c, l.Set().With(entries).Loader(l.Device()), words, nil
}

// weigh is what a tensor of a file takes on a device, in bytes: on the CPU, as its
// products read weights.
func weigh(dev engine.Device, e weights.Entry) int {
	if safetensors.Width(e.DType) == 0 {
		return 0
	}
	size := dev.Float().Size()
	if g := matmul.Gemm(dev); dev.Local() && len(e.Shape) > 1 {
		return e.Shape.Elems() * size * g.LenB(g.KR) / (g.KR * g.NR)
	}
	return e.Shape.Elems() * size
}

// weigh is what nets of the source take on a device, in bytes.
func (f *files) weigh(dev engine.Device, parts map[string]string) (int, error) {
	sum := 0
	for folder, part := range parts {
		_, set, err := f.part(folder, part)
		if err != nil {
			return 0, err
		}
		for _, e := range set.Entries() {
			sum += weigh(dev, e)
		}
	}
	return sum, nil
}

// besides is what the host takes beside weights of so many bytes: what is read of
// the file and not yet freed, and the first activations. Of a CLIP B/32's two towers
// (605 MB) the peak is 642 MB, of its vision tower's 351 MB it is 371.
func besides(weights int) int { return weights/16 + 8<<20 }

// room refuses weights of so many bytes that a device has no room for.
func (f *files) room(dev engine.Device, need int) error {
	if engine.IsDryRun(dev) {
		return nil
	}
	if dev.Local() {
		need += besides(need)
	}
	if free := engine.FreeMemory(dev); need > free && free > 0 {
		return fmt.Errorf("%s: %w", dev.Name(), &engine.MemoryError{What: "the weights of " + f.src.String(), Need: need, Free: free})
	}
	return nil
}

// fits refuses nets that a device has no room for, before they are loaded. work
// says what the nets, opened on a dry run, need on a GPU beside their weights of
// what is then free; on the CPU a drawing says it when its size is known.
func (f *files) fits(dev engine.Device, parts map[string]string, work func(dry engine.Device, free int) error) error {
	if engine.IsDryRun(dev) {
		return nil
	}
	weights, err := f.weigh(dev, parts)
	if err != nil {
		return err
	}
	if err := f.room(dev, weights); err != nil {
		return err
	}
	if work == nil || dev.Local() {
		return nil
	}
	free := engine.FreeMemory(dev)
	if err := work(engine.DryRunOf(dev), free-weights); err != nil {
		return fmt.Errorf("%s, beside %v of weights: %w", dev.Name(), engine.Bytes(weights), err)
	}
	return nil
}
