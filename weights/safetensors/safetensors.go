// Package safetensors reads and writes the safetensors format: eight bytes
// with the length of a JSON header, the header, and the tensors' bytes without
// a gap (https://github.com/huggingface/safetensors).
//
// A file is believed only after every claim in its header was checked against
// its size; what is read is never copied.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"unicode/utf8"

	"parley/engine"
)

// MaxHeader is the longest header that is read, as in the reference
// implementation.
const MaxHeader = 100_000_000

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
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
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
	data, closer, err := MapBytes(path)
	if err != nil {
		return nil, err
	}
	tensors, metadata, err := Parse(path, data)
	if err != nil {
		return nil, errors.Join(err, closer.Close())
	}
	return &File{Tensors: tensors, Metadata: metadata, closer: closer}, nil
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
	h := headerReader{dec: json.NewDecoder(bytes.NewReader(head))}
	h.dec.UseNumber()
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

type info struct {
	name, dtype string
	shape       engine.Shape
	begin, end  uint64
}

// headerReader walks the header token by token: encoding/json's own maps would
// swallow a name that comes twice.
type headerReader struct {
	dec      *json.Decoder
	infos    []info
	metadata map[string]string
}

func (h *headerReader) read() error {
	seen := map[string]bool{}
	err := h.object(func(key string) error {
		if seen[key] {
			return fmt.Errorf("%s comes twice", key)
		}
		seen[key] = true
		if key == "__metadata__" {
			h.metadata = map[string]string{}
			return h.object(func(k string) error {
				v, err := h.str()
				if _, twice := h.metadata[k]; twice && err == nil {
					err = fmt.Errorf("__metadata__: %s comes twice", k)
				}
				h.metadata[k] = v
				return err
			})
		}
		t, err := h.tensor(key)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		h.infos = append(h.infos, t)
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := h.dec.Token(); err != io.EOF {
		return errors.New("text after the closing }")
	}
	return nil
}

func (h *headerReader) tensor(name string) (info, error) {
	t := info{name: name}
	seen := map[string]bool{}
	err := h.object(func(key string) (err error) {
		if seen[key] {
			return fmt.Errorf("%s comes twice", key)
		}
		seen[key] = true
		switch key {
		case "dtype":
			t.dtype, err = h.str()
			return err
		case "shape":
			dims, err := h.numbers()
			for _, d := range dims {
				if d > 1<<62 || int(d) < 0 {
					return fmt.Errorf("a dimension of %d", d)
				}
				t.shape = append(t.shape, int(d))
			}
			return err
		case "data_offsets":
			at, err := h.numbers()
			if err != nil {
				return err
			}
			if len(at) != 2 {
				return fmt.Errorf("%d data_offsets, want 2", len(at))
			}
			t.begin, t.end = at[0], at[1]
			return nil
		}
		return fmt.Errorf("unknown field %q", key)
	})
	if err != nil {
		return t, err
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return t, fmt.Errorf("no %s", key)
		}
	}
	return t, nil
}

func (h *headerReader) object(field func(key string) error) error {
	if err := h.delim('{'); err != nil {
		return err
	}
	for h.dec.More() {
		key, err := h.str()
		if err != nil {
			return err
		}
		if err := field(key); err != nil {
			return err
		}
	}
	return h.delim('}')
}

func (h *headerReader) numbers() ([]uint64, error) {
	if err := h.delim('['); err != nil {
		return nil, err
	}
	var list []uint64
	for h.dec.More() {
		tok, err := h.token()
		if err != nil {
			return nil, err
		}
		num, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("have %v, want a number", tok)
		}
		v, err := strconv.ParseUint(string(num), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not a size", num)
		}
		list = append(list, v)
	}
	return list, h.delim(']')
}

func (h *headerReader) str() (string, error) {
	tok, err := h.token()
	if err != nil {
		return "", err
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("have %v, want a string", tok)
	}
	return s, nil
}

func (h *headerReader) delim(want json.Delim) error {
	tok, err := h.token()
	if err != nil {
		return err
	}
	if tok != want {
		return fmt.Errorf("have %v, want %v", tok, want)
	}
	return nil
}

func (h *headerReader) token() (json.Token, error) {
	tok, err := h.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return tok, err
}

// Write writes tensors to w. The same tensors give the same bytes, whatever
// their order: wide dtypes come first, so that each tensor is aligned to its
// own width, and names are sorted within a width.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	sorted := append([]Tensor(nil), tensors...)
	sort.SliceStable(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		if wa, wb := Width(a.DType), Width(b.DType); wa != wb {
			return wa > wb
		}
		return a.Name < b.Name
	})
	var head bytes.Buffer
	head.WriteByte('{')
	if len(metadata) > 0 {
		meta, err := json.Marshal(metadata) // sorts the keys
		if err != nil {
			return err
		}
		fmt.Fprintf(&head, `"__metadata__":%s`, meta)
	}
	at := 0
	seen := make(map[string]bool, len(sorted))
	for _, t := range sorted {
		if t.Name == "__metadata__" || !utf8.ValidString(t.Name) {
			return fmt.Errorf("%q does not name a tensor", t.Name)
		}
		if seen[t.Name] {
			return fmt.Errorf("%s comes twice", t.Name)
		}
		seen[t.Name] = true
		if Width(t.DType) == 0 {
			return fmt.Errorf("%s: unknown dtype %q", t.Name, t.DType)
		}
		if size, ok := Size(t.DType, t.Shape); !ok || size != len(t.Data) {
			return fmt.Errorf("%s: %s %v takes %d bytes, have %d", t.Name, t.DType, t.Shape, size, len(t.Data))
		}
		if head.Len() > 1 {
			head.WriteByte(',')
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return err
		}
		shape := []int(t.Shape)
		if shape == nil {
			shape = []int{}
		}
		dims, err := json.Marshal(shape)
		if err != nil {
			return err
		}
		fmt.Fprintf(&head, `%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, dims, at, at+len(t.Data))
		at += len(t.Data)
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 {
		head.WriteByte(' ')
	}
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(head.Len()))
	if _, err := w.Write(size[:]); err != nil {
		return err
	}
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	for _, t := range sorted {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes tensors to a file that appears complete or not at all. Its
// metadata are {"format": "pt"}, which transformers asks for.
func WriteFile(path string, tensors []Tensor) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err = Write(tmp, tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	if err = tmp.Chmod(0o644); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
