// Package packed stores a file of weights without loss in what its information
// takes: the bytes of an element are put in planes, all first bytes, then all
// second bytes (the shuffle filter of HDF5 and Blosc), and compressed with
// Zstandard. Mantissas stay what they are, signs and exponents take half: 85 % of
// trained weights in f16.
package packed

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Extension is what follows a file's own name when it is packed.
const Extension = ".zst"

const (
	frame    = "\x28\xb5\x2f\xfd" // begins a frame of Zstandard
	shuffled = "shuffle"          // begins the content of a packed file; the width follows
	most     = 64                 // times its size that a file may expand to
)

// Is reports whether a file begins as a packed one does.
func Is(data []byte) bool { return bytes.HasPrefix(data, []byte(frame)) }

// Pack packs a file whose elements have that many bytes, 1 to 8. One file gives
// one packed file.
func Pack(data []byte, width int) ([]byte, error) {
	if width < 1 || width > 8 {
		return nil, fmt.Errorf("elements of %d bytes, want 1 to 8", width)
	}
	content := append(make([]byte, 0, len(shuffled)+1+len(data)), shuffled...)
	content = append(content, byte(width))
	n := len(data) / width
	for plane := range width {
		for i := range n {
			content = append(content, data[i*width+plane])
		}
	}
	content = append(content, data[n*width:]...)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(content, nil), z.Close()
}

// Unpack gives the file back. One that was compressed with Zstandard alone is
// unpacked, too. What would grow to more than 64 times its size is refused.
func Unpack(data []byte) ([]byte, error) {
	limit := uint64(most*len(data) + 1<<20)
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(limit), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	content, err := z.DecodeAll(data, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, fmt.Errorf("it would take more than %d times its %d bytes", most, len(data))
	}
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(content, []byte(shuffled))
	if !ok {
		return content, nil
	}
	if len(rest) == 0 || rest[0] < 1 || rest[0] > 8 {
		return nil, errors.New("no width of its elements")
	}
	width, planes := int(rest[0]), rest[1:]
	n := len(planes) / width
	out := make([]byte, len(planes))
	if width == 2 { // most weights
		low, high := planes[:n], planes[n:2*n]
		for i := range low {
			out[2*i], out[2*i+1] = low[i], high[i]
		}
	} else {
		for plane := range width {
			for i, b := range planes[plane*n : (plane+1)*n] {
				out[i*width+plane] = b
			}
		}
	}
	copy(out[n*width:], planes[n*width:])
	return out, nil
}
