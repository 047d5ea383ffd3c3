package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"unicode/utf8"

	"parley/output"
)

// Write writes tensors to w. The same tensors give the same bytes, whatever
// their order: wide dtypes come first, so that each tensor is aligned to its
// own width, and names are sorted within a width.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	return WriteAs(w, tensors, metadata, func(t Tensor) error {
		if size, ok := Size(t.DType, t.Shape); !ok || size != len(t.Data) {
			return fmt.Errorf("%s: %s %v takes %d bytes, have %d", t.Name, t.DType, t.Shape, size, len(t.Data))
		}
		return nil
	}, func(w io.Writer, t Tensor) error {
		_, err := w.Write(t.Data)
		return err
	})
}

// WriteAs is Write for tensors whose bytes are made while they are written:
// data writes the bytes of a tensor, as many as its DType and Shape say. check
// is asked about each before the first byte.
func WriteAs(w io.Writer, tensors []Tensor, metadata map[string]string, check func(Tensor) error, data func(io.Writer,
	Tensor) error) error {
	sorted := append([]Tensor(nil), tensors...)
	sort.SliceStable(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		if wa, wb := Width(a.DType), Width(b.DType); wa != wb {
			return wa > wb
		}
		return a.Name < b.Name
	})
	head, err := header(sorted, metadata, check)
	if err != nil {
		return err
	}
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(head)))
	if _, err := w.Write(size[:]); err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range sorted {
		count := &counter{w: w}
		if err := data(count, t); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		if want, _ := Size(t.DType, t.Shape); count.n != want {
			return fmt.Errorf("%s: %d bytes were written, %s %v takes %d", t.Name, count.n, t.DType, t.Shape, want)
		}
	}
	return nil
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += n
	return n, err
}

// header is the JSON of tensors in the order in which they are written.
func header(sorted []Tensor, metadata map[string]string, check func(Tensor) error) ([]byte, error) {
	var head bytes.Buffer
	head.WriteByte('{')
	if len(metadata) > 0 {
		meta, err := json.Marshal(metadata) // sorts the keys
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&head, `"__metadata__":%s`, meta)
	}
	at := 0
	seen := make(map[string]bool, len(sorted))
	for _, t := range sorted {
		if t.Name == "__metadata__" || !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("%q does not name a tensor", t.Name)
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("%s comes twice", t.Name)
		}
		seen[t.Name] = true
		if Width(t.DType) == 0 {
			return nil, fmt.Errorf("%s: unknown dtype %q", t.Name, t.DType)
		}
		if err := check(t); err != nil {
			return nil, err
		}
		size, ok := Size(t.DType, t.Shape)
		if !ok {
			return nil, fmt.Errorf("%s: the shape %v overflows", t.Name, t.Shape)
		}
		if head.Len() > 1 {
			head.WriteByte(',')
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		shape := []int(t.Shape)
		if shape == nil {
			shape = []int{}
		}
		dims, err := json.Marshal(shape)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&head, `%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, dims, at, at+size)
		at += size
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 {
		head.WriteByte(' ')
	}
	return head.Bytes(), nil
}

// WriteFile writes tensors to a file that appears complete or not at all. Its
// metadata are {"format": "pt"}, which transformers asks for.
func WriteFile(path string, tensors []Tensor) error {
	return output.Write(path, output.Options{Kind: output.Safetensors, Sync: true}, func(w io.Writer) error {
		return Write(w, tensors, map[string]string{"format": "pt"})
	})
}
