//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package output

import (
	"io"
	"os"
	"syscall"
)

// mark says that this process is writing a file or folder, until it is closed
// or the process ends, however it ends. It fails where Sweep was faster.
func mark(path string) (io.Closer, error) { return flock(path, false) }

// claim is mark for what nobody writes any more, as far as can be known.
func claim(path string) (io.Closer, error) { return flock(path, true) }

func flock(path string, surely bool) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil && (surely || err == syscall.EWOULDBLOCK) {
		f.Close()
		return nil, err
	}
	return f, nil // perhaps on a file system without locks, where Sweep removes nothing
}

// hold locks an open file for this process, until it is closed; ErrLocked where
// another one has it. A file system without locks holds nobody off.
func hold(f *os.File) error {
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK {
		return ErrLocked
	}
	return nil
}
