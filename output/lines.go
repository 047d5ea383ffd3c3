package output

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked is a file that another process writes to.
var ErrLocked = errors.New("another process writes to it")

// Lines is a file of lines that grows at its end. It is locked: one process writes
// it at a time. Whatever ends the process leaves whole lines and at most one that is
// cut off, which the next OpenLines removes.
type Lines struct {
	f    *os.File // holds the lock
	path string
	size int64
}

// OpenLines opens a file of lines, or makes it, and goes on behind its last whole
// line. The error is ErrLocked where another process has it open.
func OpenLines(path string) (*Lines, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	l := &Lines{f: f, path: path}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &ExistsError{path, "no regular file"}
	}
	if err == nil {
		err = l.hold(st)
	}
	if err == nil {
		err = l.cut()
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// hold takes the lock of the file that is open. Another process that filters it may
// have put another in its place meanwhile.
func (l *Lines) hold(open fs.FileInfo) error {
	err := hold(l.f)
	if err == nil {
		var now fs.FileInfo
		if now, err = os.Stat(l.path); err == nil && !os.SameFile(open, now) {
			err = ErrLocked
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	return nil
}

// cut removes what is behind the last line's end.
func (l *Lines) cut() error {
	end, err := l.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	b := make([]byte, 1<<16)
	for l.size = end; l.size > 0; {
		lo := max(0, l.size-int64(len(b)))
		part := b[:l.size-lo]
		if _, err := l.f.ReadAt(part, lo); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			l.size = lo + int64(i) + 1
			break
		}
		l.size = lo
	}
	if l.size == end {
		return nil
	}
	return l.f.Truncate(l.size)
}

// Append writes a line, whose end is added. What a full disk has taken of it is
// removed.
func (l *Lines) Append(line []byte) error {
	if bytes.IndexByte(line, '\n') >= 0 {
		return errors.New("a line with an end in it")
	}
	line = append(bytes.Clone(line), '\n')
	if _, err := l.f.WriteAt(line, l.size); err != nil {
		return errors.Join(err, l.f.Truncate(l.size))
	}
	l.size += int64(len(line))
	return nil
}

// Filter leaves out the lines that keep does not want. The file is replaced at once:
// whatever ends the process leaves all lines or those that are kept. It stays locked.
func (l *Lines) Filter(keep func(line []byte) (bool, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("rewrite %s: %w", l.path, err)
		}
	}()
	final, _, err := follow(l.path)
	if err != nil {
		return err
	}
	st, err := l.f.Stat()
	if err != nil {
		return err
	}
	f, err := createTemp(filepath.Dir(final))
	if err != nil {
		return err
	}
	size, err := int64(0), hold(f)
	if err == nil {
		w := bufio.NewWriter(f)
		err = errors.Join(ReadLines(l.path, func(line []byte) error {
			ok, err := keep(line)
			if err != nil || !ok {
				return err
			}
			size += int64(len(line)) + 1
			_, err = w.Write(line)
			return errors.Join(err, w.WriteByte('\n'))
		}), w.Flush())
	}
	if err == nil {
		err = errors.Join(f.Chmod(st.Mode().Perm()), f.Sync())
	}
	if err == nil {
		err = os.Rename(f.Name(), final)
	}
	if err != nil {
		return errors.Join(err, f.Close(), remove(f.Name()))
	}
	old := l.f
	l.f, l.size = f, size
	return old.Close()
}

// Sync brings what was appended to the disk.
func (l *Lines) Sync() error { return l.f.Sync() }

// Close lets others write the file.
func (l *Lines) Close() error { return l.f.Close() }

// ReadLines hands on the whole lines of a file, without their ends, also while
// another process appends to it; each is good until the next.
func ReadLines(path string, use func(line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 0, 1<<16)
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, 2*cap(b)), b...)
		}
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		rest := b
		for {
			line, after, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				break
			}
			if err := use(line); err != nil {
				return err
			}
			rest = after
		}
		b = append(b[:0], rest...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &fs.PathError{Op: "read", Path: path, Err: err}
		}
	}
}
