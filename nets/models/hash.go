package models

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"parley/engine"
)

// Hash is a SHA-256 over the names and contents of a checkpoint's files, but for
// hidden ones; a file's own name is no part of it. It reads all of them.
func (s Source) Hash(run engine.Run) (string, error) {
	if s.file {
		return s.hashFile()
	}
	h := sha256.New()
	err := fs.WalkDir(s.fsys, s.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = run.Err()
		}
		if err != nil {
			return err
		}
		if name != s.dir && strings.HasPrefix(path.Base(name), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		st, err := fs.Stat(s.fsys, name) // links name the files of a hub's cache
		if err != nil || !st.Mode().IsRegular() {
			return err
		}
		f, err := s.fsys.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		fmt.Fprintf(h, "%q %d ", strings.TrimPrefix(strings.TrimPrefix(name, s.dir), "/"), st.Size())
		_, err = io.Copy(h, f)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash %s: %w", s, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (s Source) hashFile() (string, error) {
	f, err := s.fsys.Open(path.Base(strings.ReplaceAll(s.path, `\`, "/")))
	if err != nil {
		return "", fmt.Errorf("hash %s: %w", s, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash %s: %w", s, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
