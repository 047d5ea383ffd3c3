// Package output writes files and folders that appear whole or not at all, and
// replaces nothing that is not the program's to replace. Every writer of the
// program goes through it.
//
//   - A new file is written under a name that nobody can guess, in the folder
//     where it is to stand, and renamed when it is complete; the umask decides
//     on its permissions.
//   - A regular file is replaced in the same way and keeps its permissions. One
//     that is of another kind than what is written, by its first bytes, is left
//     alone unless Force is set.
//   - A symbolic link is followed: the file that it names is written, the link
//     stays. A link to nothing makes the file.
//   - A device, a named pipe and a socket are written through, as are the open
//     files under /dev/fd (so /dev/stdout), and never replaced.
//   - A folder is never replaced by a file.
//
// What a killed run has left is removed by Sweep.
package output

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Kind tells by the first bytes of a file what it is. The zero Kind is of
// writers that replace whatever stands there.
type Kind struct {
	Name string // as in "no PNG"
	Is   func(head []byte) bool
}

// The kinds that the program writes.
var (
	PNG         = Kind{"PNG", func(head []byte) bool { return bytes.HasPrefix(head, []byte("\x89PNG\r\n\x1a\n")) }}
	JSON        = Kind{"JSON", func(head []byte) bool { return beginsWith(head, "{[") }}
	Safetensors = Kind{"safetensors", func(head []byte) bool { return len(head) > 8 && head[8] == '{' }}
)

// headBytes is how much of a file a Kind sees.
const headBytes = 512

// beginsWith reports whether the first character that is no space is one of
// the set.
func beginsWith(head []byte, set string) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	return len(head) > 0 && strings.IndexByte(set, head[0]) >= 0
}

// Options say how a file is written.
type Options struct {
	Kind  Kind
	Force bool // write over a regular file of another kind
	New   bool // a regular file that is there is an error that is fs.ErrExist, whatever its kind; Force goes first
	Sync  bool // wait until the data are on the disk before the file appears
}

// ExistsError says that something stands where the output was to go.
type ExistsError struct{ Path, Why string }

func (e *ExistsError) Error() string { return e.Path + " exists and is " + e.Why }

// Unwrap is fs.ErrExist.
func (e *ExistsError) Unwrap() error { return fs.ErrExist }

// File is a file that is being written.
type File struct {
	f     *os.File
	path  string // what is asked for, for messages
	final string // the regular file that it becomes; "" where it is written through
	isNew bool   // there was none when it was begun
	only  bool   // there must be none when it is complete
	mode  fs.FileMode
	sync  bool
	err   error // of a Write
	lock  io.Closer
}

// Create begins a file. Commit makes it appear; Close without Commit leaves
// what was there before.
func Create(path string, o Options) (*File, error) {
	final, through, err := follow(path)
	if err != nil {
		return nil, err
	}
	if through {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &File{f: f, path: path}, nil
	}
	w := &File{path: path, final: final, sync: o.Sync, only: o.New && !o.Force}
	old, err := os.Lstat(final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.isNew = true
	case err != nil:
		return nil, err
	default:
		if err := replaceable(final, old, o); err != nil {
			return nil, err
		}
		w.mode = old.Mode().Perm()
	}
	if w.f, err = createTemp(filepath.Dir(final)); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if w.lock, err = mark(w.f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), w.Close())
	}
	return w, nil
}

// follow finds the file that a path names, and whether it is written through.
func follow(path string) (final string, through bool, err error) {
	if path == "" {
		return "", false, &fs.PathError{Op: "create", Path: path, Err: fs.ErrNotExist}
	}
	final = filepath.Clean(path)
	for range 40 { // links, as many as Linux follows
		dir, err := filepath.EvalSymlinks(filepath.Dir(final))
		if err != nil {
			return "", false, err
		}
		final = filepath.Join(dir, filepath.Base(final))
		st, err := os.Lstat(final)
		if errors.Is(err, fs.ErrNotExist) {
			return final, false, nil
		}
		if err != nil {
			return "", false, err
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			return final, !st.Mode().IsRegular() && !st.IsDir(), nil
		}
		// The links there name what is open, which a rename would not reach.
		if s := filepath.ToSlash(dir); s == "/dev/fd" || strings.HasPrefix(s, "/proc/") && strings.HasSuffix(s, "/fd") {
			return final, true, nil
		}
		to, err := os.Readlink(final)
		if err != nil {
			return "", false, err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		final = to
	}
	return "", false, &fs.PathError{Op: "create", Path: path, Err: errors.New("too many symbolic links")}
}

// replaceable refuses what is not to be replaced.
func replaceable(path string, st fs.FileInfo, o Options) error {
	if st.IsDir() {
		return &ExistsError{path, "a folder"}
	}
	if !st.Mode().IsRegular() {
		return &ExistsError{path, "no regular file"}
	}
	if o.New && !o.Force {
		return &ExistsError{path, "not to be replaced"}
	}
	// A rename needs no right to write to what it replaces: ask for it.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if o.Force || o.Kind.Is == nil || st.Size() == 0 {
		return nil
	}
	if f, err = os.Open(path); err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, headBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF {
		return err
	}
	if !o.Kind.Is(head[:n]) {
		return &ExistsError{path, "no " + o.Kind.Name + " file: name another, or force it"}
	}
	return nil
}

// Names of files and folders that are not complete yet: prefix, 32 hexadecimal
// digits, suffix.
const prefix, suffix, digits = ".parley-", ".part", 32

func tempName(dir string) string {
	var b [digits / 2]byte
	rand.Read(b[:]) // never fails
	return filepath.Join(dir, prefix+hex.EncodeToString(b[:])+suffix)
}

func isTemp(name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	id, ok2 := strings.CutSuffix(rest, suffix)
	if !ok || !ok2 || len(id) != digits {
		return false
	}
	_, err := hex.DecodeString(id)
	return err == nil
}

// createTemp makes a file of a new name; O_EXCL follows no link. The umask
// decides on its permissions.
func createTemp(dir string) (*os.File, error) {
	return os.OpenFile(tempName(dir), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// Write writes to the file.
func (w *File) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}

// Sync brings what was written to the disk.
func (w *File) Sync() error {
	if w.final == "" {
		return nil // a pipe, a terminal
	}
	return w.f.Sync()
}

// Commit completes the file and makes it appear.
func (w *File) Commit() error {
	err := w.err
	if err == nil && w.sync && w.final != "" {
		err = w.f.Sync()
	}
	if err == nil && w.final != "" && !w.isNew {
		err = w.f.Chmod(w.mode)
	}
	temp := w.f.Name()
	err = errors.Join(err, w.f.Close())
	w.f = nil
	if w.final != "" {
		if err == nil {
			err = w.appear(temp)
		}
		if err != nil {
			err = errors.Join(err, remove(temp))
		}
	}
	err = errors.Join(err, w.unlock())
	if err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	return nil
}

// appear renames a complete file to its name. What has come there meanwhile and
// is no regular file is not replaced.
func (w *File) appear(temp string) error {
	if w.isNew {
		err := renameNew(temp, w.final)
		if !errors.Is(err, fs.ErrExist) || w.only {
			return err
		}
	}
	st, err := os.Lstat(w.final)
	if err == nil && !st.Mode().IsRegular() {
		return &ExistsError{w.final, "no regular file"}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(temp, w.final)
}

// Close gives up a file that is not committed; after Commit it does nothing.
func (w *File) Close() error {
	if w.f == nil {
		return nil
	}
	temp := w.f.Name()
	err := w.f.Close()
	w.f = nil
	if w.final != "" {
		err = errors.Join(err, remove(temp))
	}
	return errors.Join(err, w.unlock())
}

func (w *File) unlock() error {
	if w.lock == nil {
		return nil
	}
	l := w.lock
	w.lock = nil
	return l.Close()
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Write is Create, what write does, and Commit.
func Write(path string, o Options, write func(w io.Writer) error) error {
	f, err := Create(path, o)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
	}
	return f.Commit()
}

// WriteFile writes data to a file.
func WriteFile(path string, data []byte, o Options) error {
	return Write(path, o, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Check says before the work what Create would say after it: whether a file of
// the path can be written. It leaves nothing, and touches no device or pipe.
func Check(path string, o Options) error {
	_, through, err := follow(path)
	if err != nil || through {
		return err
	}
	f, err := Create(path, o)
	if err != nil {
		return err
	}
	return f.Close()
}

// CreateInPlace begins a file that is seen while it grows, by the rules of
// Create: what a killed run has written of it stays.
func CreateInPlace(path string, o Options) (*os.File, error) {
	final, through, err := follow(path)
	if err != nil {
		return nil, err
	}
	if through {
		return os.OpenFile(path, os.O_WRONLY, 0)
	}
	old, err := os.Lstat(final)
	if errors.Is(err, fs.ErrNotExist) {
		return os.OpenFile(final, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	}
	if err == nil {
		err = replaceable(final, old, o)
	}
	if err != nil {
		return nil, err
	}
	return os.OpenFile(final, os.O_RDWR|os.O_TRUNC, 0)
}

// MakeFolder makes a folder with those above it, where there is none, and sweeps
// it.
func MakeFolder(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	return Sweep(path)
}

// Folder is a folder that is being filled.
type Folder struct {
	Path  string // where it is filled
	final string
	lock  io.Closer
}

// NewFolder begins a folder where there is nothing; what is there, a link to
// nothing too, is an error that is fs.ErrExist.
func NewFolder(path string) (*Folder, error) {
	path = filepath.Clean(path)
	if err := absent(path); err != nil {
		return nil, err
	}
	d := &Folder{Path: tempName(filepath.Dir(path)), final: path}
	if err := os.Mkdir(d.Path, 0o777); err != nil {
		return nil, err
	}
	var err error
	if d.lock, err = mark(d.Path); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func absent(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Commit makes the folder appear.
func (d *Folder) Commit() error {
	err := renameNew(d.Path, d.final)
	if err == nil {
		d.Path = ""
	}
	return errors.Join(err, d.Close())
}

// Close removes a folder that is not committed; after Commit it does nothing.
func (d *Folder) Close() error {
	var err error
	if d.Path != "" {
		err = os.RemoveAll(d.Path)
		d.Path = ""
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
		d.lock = nil
	}
	return err
}

// Sweep removes the incomplete files and folders of runs that were killed from
// a folder. What a living run is writing is locked and stays. Call it once
// before the first file is written to a folder: it reads the whole of it.
func Sweep(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	for _, e := range list {
		if !isTemp(e.Name()) || !e.IsDir() && !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		l, err := claim(path)
		if err != nil {
			continue // somebody writes it, or it is somebody else's
		}
		errs = append(errs, os.RemoveAll(path), l.Close())
	}
	return errors.Join(errs...)
}
