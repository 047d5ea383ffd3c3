// Package models opens checkpoints, in whatever layout they come, as models: the
// nets of BLIP, of Stable Diffusion and of CLIP with their tokenizers and
// preprocessing.
package models

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

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
	// Clean is what is done to a text before CLIP's words are looked for; "" is what
	// the checkpoint's family does: transformers', or for open_clip's folders its own.
	Clean vocab.Cleaning
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
// Where nobody says how texts are cleaned, own is how.
func (s Source) clipTokens(folder, pad string, own vocab.Cleaning) (tokens *vocab.CLIP, err error) {
	if t, ok := s.tokens(folder); ok {
		tokens, err = vocab.LoadCLIP(t.fsys, t.dir)
	} else {
		tokens, err = vocab.DefaultCLIP(pad)
	}
	how := cmp.Or(s.Clean, own)
	if err != nil || how == "" {
		return tokens, err
	}
	return tokens.Cleaned(how)
}

// covers fails where a tokenizer gives ids that a net does not have.
func covers(what string, ids []int32, vocabulary int) error {
	for _, id := range ids {
		if int(id) >= vocabulary {
			return fmt.Errorf("%s: the tokenizer gives the id %d, the model has %d tokens: its own vocabulary is missing from its folder", what,
				id, vocabulary)
		}
	}
	return nil
}
