// Package safetensors reads and writes the safetensors format: eight bytes
// with the length of a JSON header, the header, and the tensors' bytes without
// a gap (https://github.com/huggingface/safetensors).
//
// A file is believed only after every claim in its header was checked against
// its size; what is read is never copied.
package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sort"
	"unicode/utf8"

	"parley/engine"
)

// Limits of what is read: the longest header, as in the reference
// implementation; the longest name of a tensor, in bytes; and as many
// dimensions as torch's tensors have.
const (
	MaxHeader = 100_000_000
	MaxName   = 4096
	MaxRank   = 64
)

// Tensor is a tensor as it lies in a file: raw little-endian bytes, row-major,
// which may be a mapping of the file and are only to be read.
type Tensor struct {
	Name  string
	DType string // "F32", "F16", "BF16", "F64", "I64", "I32", "U8", "BOOL", ...
	Shape engine.Shape
	Data  []byte
	File  string // where it was read, for messages
}

var widths = map[string]int{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
	"I16": 2, "U16": 2, "F16": 2, "BF16": 2,
	"I32": 4, "U32": 4, "F32": 4,
	"F64": 8, "I64": 8, "U64": 8, "C64": 8,
}

// Width is the number of bytes of an element, 0 for an unknown dtype.
func Width(dtype string) int { return widths[dtype] }

// Size is the number of bytes that a shape takes, and whether it is a number
// that an int holds.
func Size(dtype string, shape engine.Shape) (int, bool) {
	n := uint64(Width(dtype))
	for _, d := range shape {
		if d < 0 {
			return 0, false
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<62 {
			return 0, false
		}
		n = lo
	}
	return int(n), int(n) >= 0
}

// File is an open safetensors file.
type File struct {
	Tensors  []Tensor // in the file's order
	Metadata map[string]string
	closer   io.Closer
}

// Close unmaps the file; the tensors' data are not to be touched afterwards.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	c := f.closer
	f.closer, f.Tensors = nil, nil
	return c.Close()
}

// Map opens a file by mapping it where the system can, and reads it elsewhere.
func Map(path string) (*File, error) {
	m, err := MapBytes(path)
	if err != nil {
		return nil, err
	}
	f := &File{closer: m}
	err = Reading(path, func() (err error) {
		f.Tensors, f.Metadata, err = Parse(path, m.Data)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return f, nil
}

// Parse finds the tensors in the bytes of a file. The tensors' data are slices
// of data. The name is for messages and for Tensor.File.
func Parse(name string, data []byte) (tensors []Tensor, metadata map[string]string, err error) {
	tensors, metadata, err = parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range tensors {
		tensors[i].File = name
	}
	return tensors, metadata, nil
}

func parse(data []byte) ([]Tensor, map[string]string, error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("not a safetensors file: %d bytes, at least 8 wanted", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > MaxHeader {
		return nil, nil, fmt.Errorf("not a safetensors file: a header of %d bytes, at most %d allowed", n, MaxHeader)
	}
	if n > uint64(len(data)-8) {
		return nil, nil, fmt.Errorf("truncated: a header of %d bytes in a file of %d", n, len(data))
	}
	head, body := data[8:8+n], data[8+n:]
	if len(head) == 0 || head[0] != '{' {
		return nil, nil, errors.New("not a safetensors file: the header does not begin with {")
	}
	if !utf8.Valid(head) {
		return nil, nil, errors.New("the header is not UTF-8")
	}
	h := headerReader{text: head}
	if err := h.read(); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	// Every byte belongs to one tensor.
	sort.SliceStable(h.infos, func(i, j int) bool {
		a, b := h.infos[i], h.infos[j]
		if a.begin != b.begin {
			return a.begin < b.begin
		}
		return a.end < b.end
	})
	at := uint64(0)
	tensors := make([]Tensor, 0, len(h.infos))
	for _, t := range h.infos {
		if t.end < t.begin {
			return nil, nil, fmt.Errorf("%s: ends at %d, before it begins at %d", t.name, t.end, t.begin)
		}
		if t.end > uint64(len(body)) {
			return nil, nil, fmt.Errorf("%s: ends at %d, after the end of the data at %d (a truncated file?)", t.name, t.end, len(body))
		}
		if t.begin < at {
			return nil, nil, fmt.Errorf("%s: begins at %d, inside the tensor that ends at %d", t.name, t.begin, at)
		}
		if t.begin > at {
			return nil, nil, fmt.Errorf("%s: begins at %d, a gap after %d", t.name, t.begin, at)
		}
		if Width(t.dtype) == 0 {
			return nil, nil, fmt.Errorf("%s: unknown dtype %q", t.name, t.dtype)
		}
		size, ok := Size(t.dtype, t.shape)
		if !ok {
			return nil, nil, fmt.Errorf("%s: the shape %v overflows", t.name, t.shape)
		}
		if uint64(size) != t.end-t.begin {
			return nil, nil, fmt.Errorf("%s: %s %v takes %d bytes, the file has %d", t.name, t.dtype, t.shape, size, t.end-t.begin)
		}
		tensors = append(tensors, Tensor{Name: t.name, DType: t.dtype, Shape: t.shape, Data: body[t.begin:t.end:t.end]})
		at = t.end
	}
	if at != uint64(len(body)) {
		return nil, nil, fmt.Errorf("%d bytes after the last tensor", uint64(len(body))-at)
	}
	return tensors, h.metadata, nil
}
