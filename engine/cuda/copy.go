//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"parley/engine"
	"parley/engine/cuda/driver"
)

// staging is page-locked memory that copies go through: the device reads and
// writes it by itself, and the caller's memory is its own again when the call
// returns.
//
// Uploads take the next bytes of a ring and wait only where the device has not
// yet read what lay there before, so that a small upload between launches does
// not wait for them. A download waits anyway; it has a buffer to itself.
type staging struct {
	ring    unsafe.Pointer
	head    int
	pending []segment // in order
	events  []cu.Event
	buffers []unsafe.Pointer // of downloads, not in use
}

type segment struct {
	lo, hi int
	read   cu.Event // happens when the device has read it
}

const (
	ringBytes  = 32 << 20
	chunkBytes = 8 << 20 // of one copy
)

// take finds n bytes of the ring.
func (s *staging) take(n int) (lo int, err error) {
	if s.ring == nil {
		if s.ring, err = driver.HostAlloc(ringBytes); err != nil {
			return 0, err
		}
	}
	lo = s.head
	if lo+n > ringBytes {
		// The bytes up to the end stay with the segments that have them.
		for len(s.pending) > 0 && s.pending[0].lo >= lo {
			if err := s.retire(); err != nil {
				return 0, err
			}
		}
		lo = 0
	}
	for len(s.pending) > 0 && s.pending[0].lo < lo+n && s.pending[0].hi > lo {
		if err := s.retire(); err != nil {
			return 0, err
		}
	}
	s.head = lo + n
	return lo, nil
}

// retire waits for the oldest segment.
func (s *staging) retire() error {
	p := s.pending[0]
	if err := p.read.Synchronize(); err != nil {
		return err
	}
	s.pending = s.pending[1:]
	s.events = append(s.events, p.read)
	return nil
}

func (s *staging) event() (cu.Event, error) {
	if n := len(s.events); n > 0 {
		e := s.events[n-1]
		s.events = s.events[:n-1]
		return e, nil
	}
	return cu.MakeEvent(cu.DisableTiming)
}

func (s *staging) buffer() (unsafe.Pointer, error) {
	if n := len(s.buffers); n > 0 {
		b := s.buffers[n-1]
		s.buffers = s.buffers[:n-1]
		return b, nil
	}
	return driver.HostAlloc(chunkBytes)
}

func (s *staging) close() error {
	var errs []error
	for _, p := range s.pending {
		s.events = append(s.events, p.read)
	}
	for i := range s.events {
		errs = append(errs, cu.DestroyEvent(&s.events[i]))
	}
	for _, b := range s.buffers {
		errs = append(errs, cu.MemFreeHost(b))
	}
	if s.ring != nil {
		errs = append(errs, cu.MemFreeHost(s.ring))
	}
	*s = staging{}
	return errors.Join(errs...)
}

var errCopyInCapture = errors.New("a graph cannot hold copies from and to the host")

// Upload implements engine.Device. src may be changed when it returns; the
// tensor has the values for everything that is started after it.
func (d *Device) Upload(dst *engine.Tensor, src []byte) error {
	if len(src) > dst.Bytes() {
		return fmt.Errorf("%s: upload of %d bytes to a tensor of %d", d.name, len(src), dst.Bytes())
	}
	if d.recording() != nil {
		return errCopyInCapture
	}
	addr := dst.Memory().Addr
	for len(src) > 0 {
		n := min(len(src), chunkBytes)
		if err := d.upload(cu.DevicePtr(addr), src[:n]); err != nil {
			return err
		}
		addr, src = addr+uintptr(n), src[n:]
	}
	return nil
}

func (d *Device) upload(dst cu.DevicePtr, src []byte) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	s := &d.staging
	lo, err := s.take(len(src))
	if err != nil {
		return d.failed("prepare an upload", err)
	}
	at := unsafe.Add(s.ring, lo)
	copy(unsafe.Slice((*byte)(at), len(src)), src)
	e, err := s.event()
	if err != nil {
		return d.failed("prepare an upload", err)
	}
	q, _ := d.queue(false)
	if err := cu.MemcpyHtoDAsync(dst, at, int64(len(src)), q); err != nil {
		s.events = append(s.events, e)
		return d.failed("upload", err)
	}
	s.pending = append(s.pending, segment{lo, lo + len(src), e})
	return d.failed("upload", e.Record(q))
}

// WatchDownloads has f told of everything that leaves the device's memory for the
// host's, in bytes; nil ends that. It is not for use while others work on the
// device.
func (d *Device) WatchDownloads(f func(bytes int)) { d.leaving = f }

// Download implements engine.Device. It waits for everything that was started
// before.
func (d *Device) Download(dst []byte, src *engine.Tensor) error {
	if len(dst) > src.Bytes() {
		return fmt.Errorf("%s: download of %d bytes from a tensor of %d", d.name, len(dst), src.Bytes())
	}
	if d.recording() != nil {
		return errCopyInCapture
	}
	if f := d.leaving; f != nil {
		f(len(dst))
	}
	addr := src.Memory().Addr
	for len(dst) > 0 {
		n := min(len(dst), chunkBytes)
		if err := d.download(dst[:n], cu.DevicePtr(addr)); err != nil {
			return err
		}
		addr, dst = addr+uintptr(n), dst[n:]
	}
	return nil
}

func (d *Device) download(dst []byte, src cu.DevicePtr) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	s := &d.staging
	buf, err := s.buffer()
	if err != nil {
		return d.failed("prepare a download", err)
	}
	defer func() { s.buffers = append(s.buffers, buf) }()
	e, err := s.event()
	if err != nil {
		return d.failed("prepare a download", err)
	}
	defer func() { s.events = append(s.events, e) }()
	q, _ := d.queue(false)
	if err := cu.MemcpyDtoHAsync(buf, src, int64(len(dst)), q); err != nil {
		return d.failed("download", err)
	}
	if err := e.Record(q); err != nil {
		return d.failed("download", err)
	}
	d.mu.Unlock() // others may start work meanwhile
	err = e.Synchronize()
	if err == nil {
		copy(dst, unsafe.Slice((*byte)(buf), len(dst)))
	}
	d.mu.Lock()
	return d.failed("download", err)
}

// Copy copies the values of src to dst, both of this device and of one size. A
// graph may hold it.
func (d *Device) Copy(dst, src *engine.Tensor) error {
	if dst.Bytes() != src.Bytes() {
		return fmt.Errorf("%s: copy of %d bytes to a tensor of %d", d.name, src.Bytes(), dst.Bytes())
	}
	if src.Bytes() == 0 {
		return nil
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	q, _ := d.queue(false)
	return d.failed("copy", cu.MemcpyDtoDAsync(cu.DevicePtr(dst.Memory().Addr), cu.DevicePtr(src.Memory().Addr), int64(src.Bytes()), q))
}

// Zero fills a tensor with zeros. A graph may hold it.
func (d *Device) Zero(t *engine.Tensor) error {
	if t.Bytes() == 0 {
		return nil
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	q, _ := d.queue(false)
	return d.failed("fill", cu.MemsetD8Async(cu.DevicePtr(t.Memory().Addr), 0, int64(t.Bytes()), q))
}
