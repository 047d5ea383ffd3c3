package output

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrLocked is a file that another process writes to.
var ErrLocked = errors.New("another process writes to it")

// Lines is a file of lines that grows at its end. It is locked: one process writes
// it at a time. Whatever ends the process leaves whole lines and at most one that is
// cut off, which the next OpenLines removes.
type Lines struct {
	f    *os.File
	lock io.Closer
	size int64
}

// OpenLines opens a file of lines, or makes it, and goes on behind its last whole
// line. The error is ErrLocked where another process has it open.
func OpenLines(path string) (*Lines, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	l := &Lines{f: f}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &ExistsError{path, "no regular file"}
	}
	if err == nil {
		if l.lock, err = hold(path); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err == nil {
		err = l.cut()
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
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

// Sync brings what was appended to the disk.
func (l *Lines) Sync() error { return l.f.Sync() }

// Close lets others write the file.
func (l *Lines) Close() error {
	err := l.f.Close()
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
	}
	return err
}

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
