package models

import (
	"errors"
	"fmt"
	"path"

	"parley/engine"
	"parley/weights"
	"parley/weights/convert"
)

// files are a source whose checkpoint files have been opened, each once: to be
// weighed, to be tried in a dry run, and to be loaded. Tensors that are used as
// they lie in a file are mapped until Close.
type files struct {
	src  Source
	sets map[string]checkpoint // by path
	all  []*weights.Set
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
	s := f.src
	if in, ok := s.in(folder); ok {
		s = in
	} else if s.has("model_index.json") || s.hasFolder(convert.UNet, convert.VAE, convert.TextEncoder) {
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

// scale is a dry run that weighs what is allocated on it.
type scale struct {
	engine.DryRun
	bytes int
}

// Unwrap tells others that the device is a dry run.
func (s *scale) Unwrap() engine.Device { return s.DryRun }

// Alloc implements engine.Device.
func (s *scale) Alloc(n int) (engine.Memory, error) {
	s.bytes += n
	return engine.Memory{}, nil
}

// fits refuses nets that a GPU has no room for, before they are loaded. open builds
// them on a dry run, which weighs their tensors as they would be stored and packed;
// what it returns, if anything, says what the nets need beside them of what is then
// free.
func (f *files) fits(dev engine.Device, open func(dry engine.Device) (work func(free int) error, err error)) error {
	if dev.Local() || engine.IsDryRun(dev) {
		return nil
	}
	dry := &scale{DryRun: engine.DryRunOf(dev)}
	work, err := open(dry)
	if err != nil {
		return err
	}
	free := engine.FreeMemory(dev)
	if dry.bytes > free {
		return fmt.Errorf("%s: %w", dev.Name(), &engine.MemoryError{What: "the weights of " + f.src.String(), Need: dry.bytes, Free: free})
	}
	if work == nil {
		return nil
	}
	if err := work(free - dry.bytes); err != nil {
		return fmt.Errorf("%s, beside %v of weights: %w", dev.Name(), engine.Bytes(dry.bytes), err)
	}
	return nil
}

// weighs is what fits takes of one net, with nothing beside its weights.
func weighs[T any](f *files, folder, part string, build func(weights.Config, *weights.Loader) (T, error)) func(engine.Device) (
	func(int) error, error) {
	return func(dry engine.Device) (func(int) error, error) {
		_, err := load(f, dry, folder, part, build)
		return nil, err
	}
}
