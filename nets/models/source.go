// Package models brings nets, tokenizers and preprocessing together: BLIP as a
// captioner, Stable Diffusion as a painter and CLIP as a judge, from whatever
// layout a checkpoint comes in.
package models

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"parley/engine"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/mini"
	"parley/weights/vocab"
)

// Source is where a checkpoint lies: a file or folder, or the embedded models.
type Source struct {
	// Variant is that of the files to read, such as "fp16"; "" prefers those
	// without one.
	Variant string
	// Assume settles what a checkpoint without a configuration does not say.
	Assume convert.Assume
	// Note is told what was guessed for want of it, perhaps more than once.
	Note func(string)

	path string // on disk; "" for the embedded models
	fsys fs.FS
	dir  string // in fsys
	file bool
}

// Embedded is a miniature model: "blip", "sd" or "clip".
func Embedded(name string) Source { return Source{fsys: mini.FS(), dir: name} }

// At is a checkpoint on disk: a folder in Hugging Face's layout, or a file in
// any that parley/weights/convert knows.
func At(name string) (Source, error) {
	name, err := weights.Snapshot(name)
	if err != nil {
		return Source{}, err
	}
	st, err := os.Stat(name)
	if err != nil {
		return Source{}, err
	}
	if !st.IsDir() {
		return Source{path: name, fsys: os.DirFS(filepath.Dir(name)), dir: ".", file: true}, nil
	}
	return Source{path: name, fsys: os.DirFS(name), dir: "."}, nil
}

// String is what a person calls the source.
func (s Source) String() string {
	if s.path == "" {
		return "embedded " + s.dir
	}
	return s.path
}

// IsEmbedded reports whether the source is a miniature model.
func (s Source) IsEmbedded() bool { return s.path == "" }

// in is a folder of the source, if it has one of the name.
func (s Source) in(name string) (Source, bool) {
	if s.file || name == "" {
		return s, false
	}
	if st, err := fs.Stat(s.fsys, path.Join(s.dir, name)); err != nil || !st.IsDir() {
		return s, false
	}
	s.dir = path.Join(s.dir, name)
	if s.path != "" {
		s.path = filepath.Join(s.path, name)
	}
	return s, true
}

// has reports whether the source's folder has one of the files.
func (s Source) has(names ...string) bool {
	for _, n := range names {
		if _, err := fs.Stat(s.fsys, path.Join(s.dir, n)); err == nil {
			return true
		}
	}
	return false
}

// notes tells what was guessed about a set.
func (s Source) notes(set *weights.Set) {
	if s.Note == nil {
		return
	}
	for _, n := range set.Notes() {
		s.Note(n)
	}
}

// hasFolder reports whether the source's folder has one of the folders.
func (s Source) hasFolder(names ...string) bool {
	for _, n := range names {
		if _, ok := s.in(n); ok {
			return true
		}
	}
	return false
}

// part opens one net of a checkpoint: its configuration and its tensors, from
// the folder of the name, or from the source itself.
func (s Source) part(dev engine.Device, folder, part string) (weights.Config, *weights.Loader, io.Closer, error) {
	if in, ok := s.in(folder); ok {
		s = in
	} else if s.has("model_index.json") || s.hasFolder(convert.UNet, convert.VAE, convert.TextEncoder) {
		return nil, nil, nil, fmt.Errorf("%s: no %s: there is no folder %s/", s, part, folder)
	}
	var set *weights.Set
	var err error
	if s.path == "" {
		set, err = weights.OpenFS(s.fsys, s.dir)
	} else {
		set, err = weights.OpenVariant(s.path, s.Variant)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	fail := func(err error) (weights.Config, *weights.Loader, io.Closer, error) {
		return nil, nil, nil, errors.Join(err, set.Close())
	}
	parts, err := convert.Canonical(set)
	if err != nil {
		return fail(err)
	}
	own, ok := parts[part]
	if !ok {
		var have []string
		for p := range parts {
			have = append(have, p)
		}
		return fail(fmt.Errorf("%s: no %s in it; it holds %v", s, part, have))
	}
	var c weights.Config
	if !s.file && s.has("config.json") {
		c, err = weights.ReadConfig(s.fsys, path.Join(s.dir, "config.json"))
	} else {
		c, err = s.Assume.Config(part, own)
	}
	if err != nil {
		return fail(err)
	}
	s.notes(set)
	return c, own.Loader(dev), set, nil
}

// load builds one net and closes its files: nets hold their weights packed. One
// that fails leaves nothing on the device.
func load[T any](s Source, dev engine.Device, folder, part string, build func(weights.Config, *weights.Loader) (T, error)) (T, error) {
	var none T
	dev, kept := engine.Keep(dev)
	c, l, files, err := s.part(dev, folder, part)
	if err != nil {
		return none, err
	}
	net, err := build(c, l)
	if err = errors.Join(err, files.Close()); err != nil { // a net has copies of its weights
		kept.FreeAll()
		return none, fmt.Errorf("load %s from %s: %w", part, s, err)
	}
	return net, nil
}

// tokens is the folder of a tokenizer's files, if there is one.
func (s Source) tokens(folder string) (Source, bool) {
	for _, f := range []string{folder, "tokenizer"} {
		if t, ok := s.in(f); ok || f == "" {
			if t.has("vocab.json", "tokenizer.json") && !t.file {
				return t, true
			}
		}
	}
	return s, false
}

// clipTokens is the source's own tokenizer, or the published one with a padding.
func (s Source) clipTokens(folder, pad string) (*vocab.CLIP, error) {
	if t, ok := s.tokens(folder); ok {
		return vocab.LoadCLIP(t.fsys, t.dir)
	}
	return vocab.DefaultCLIP(pad)
}

// fit fails where a tokenizer gives ids that a net does not have.
func fit(what string, ids []int32, vocabulary int) error {
	for _, id := range ids {
		if int(id) >= vocabulary {
			return fmt.Errorf("%s: the tokenizer gives the id %d, the model has %d words: its own vocabulary is missing from its folder", what, id, vocabulary)
		}
	}
	return nil
}
