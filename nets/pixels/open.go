package pixels

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// silence is how long a pipe may keep the reader waiting.
const silence = 10 * time.Second

// open opens a picture file and says its size, -1 for a pipe. It never waits: a
// pipe that nobody writes to would block a plain open.
func open(path string) (io.ReadCloser, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return f, info.Size(), nil
	case mode&fs.ModeNamedPipe != 0:
		return pipe{f}, -1, nil
	case mode.IsDir():
		err = errors.New("is a folder, not a picture")
	case mode&fs.ModeDevice != 0:
		err = errors.New("is a device, not a picture")
	default:
		err = fmt.Errorf("is no regular file (%v)", mode.Type())
	}
	f.Close()
	return nil, 0, err
}

// pipe is a pipe whose writer may fall silent.
type pipe struct{ *os.File }

// Read implements io.Reader.
func (p pipe) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	n, err := p.File.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("a pipe, and nothing came out of it for %v", silence)
	}
	return n, err
}
