package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"parley/engine"
)

type info struct {
	name, dtype string
	shape       engine.Shape
	begin, end  uint64
}

// headerReader walks the JSON of a header once, in time that grows with its
// length. encoding/json's maps would swallow a name that comes twice, and its
// tokens cost a hundred times the bytes of a header that is nothing but
// numbers.
type headerReader struct {
	text     []byte
	at       int
	infos    []info
	metadata map[string]string
}

func (h *headerReader) read() error {
	seen := map[string]bool{}
	err := h.object(MaxName, func(key string) error {
		if seen[key] {
			return fmt.Errorf("%s comes twice", key)
		}
		seen[key] = true
		if key == "__metadata__" {
			h.metadata = map[string]string{}
			return h.object(MaxHeader, func(k string) error {
				v, err := h.str(MaxHeader)
				if _, twice := h.metadata[k]; twice && err == nil {
					err = fmt.Errorf("__metadata__: %.80s comes twice", k)
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
	if h.space(); h.at < len(h.text) {
		return errors.New("text after the closing }")
	}
	return nil
}

func (h *headerReader) tensor(name string) (info, error) {
	t := info{name: name}
	var dtype, shape, offsets bool
	err := h.object(MaxName, func(key string) (err error) {
		var field *bool
		switch key {
		case "dtype":
			field = &dtype
		case "shape":
			field = &shape
		case "data_offsets":
			field = &offsets
		default:
			return fmt.Errorf("unknown field %.80q", key)
		}
		if *field {
			return fmt.Errorf("%s comes twice", key)
		}
		*field = true
		switch key {
		case "dtype":
			t.dtype, err = h.str(MaxName)
		case "shape":
			var dims []uint64
			dims, err = h.numbers(MaxRank, "dimensions")
			for _, d := range dims {
				if d > 1<<62 || int(d) < 0 {
					return fmt.Errorf("a dimension of %d", d)
				}
				t.shape = append(t.shape, int(d))
			}
		default:
			var at []uint64
			if at, err = h.numbers(MaxRank, "data_offsets"); err == nil && len(at) != 2 {
				err = fmt.Errorf("%d data_offsets, want 2", len(at))
			}
			if err == nil {
				t.begin, t.end = at[0], at[1]
			}
		}
		return err
	})
	switch {
	case err != nil:
	case !dtype:
		err = errors.New("no dtype")
	case !shape:
		err = errors.New("no shape")
	case !offsets:
		err = errors.New("no data_offsets")
	}
	return t, err
}

func (h *headerReader) space() {
	for h.at < len(h.text) {
		switch h.text[h.at] {
		case ' ', '\t', '\r', '\n':
			h.at++
		default:
			return
		}
	}
}

// next is the character that the next value begins with, 0 at the end.
func (h *headerReader) next() byte {
	h.space()
	if h.at == len(h.text) {
		return 0
	}
	return h.text[h.at]
}

// take passes over a character.
func (h *headerReader) take(c byte) error {
	if h.next() != c {
		return h.unexpected(string(c))
	}
	h.at++
	return nil
}

func (h *headerReader) unexpected(want string) error {
	if h.next() == 0 {
		return io.ErrUnexpectedEOF
	}
	rest := h.text[h.at:min(len(h.text), h.at+20)]
	if i := bytes.IndexAny(rest[1:], ",:{}[] \""); i >= 0 {
		rest = rest[:i+1]
	}
	return fmt.Errorf("have %s, want %s", rest, want)
}

// object calls field behind each key, which may have so many bytes.
func (h *headerReader) object(longest int, field func(key string) error) error {
	if err := h.take('{'); err != nil {
		return err
	}
	if h.next() == '}' {
		h.at++
		return nil
	}
	for {
		key, err := h.str(longest)
		if err != nil {
			return err
		}
		if err := h.take(':'); err != nil {
			return err
		}
		if err := field(key); err != nil {
			return err
		}
		if h.next() == '}' {
			h.at++
			return nil
		}
		if err := h.take(','); err != nil {
			return err
		}
	}
}

// numbers is a list of at most so many.
func (h *headerReader) numbers(most int, what string) ([]uint64, error) {
	if err := h.take('['); err != nil {
		return nil, err
	}
	var list []uint64
	if h.next() == ']' {
		h.at++
		return nil, nil
	}
	for {
		v, err := h.number()
		if err != nil {
			return nil, err
		}
		if len(list) == most {
			return nil, fmt.Errorf("more than %d %s", most, what)
		}
		list = append(list, v)
		if h.next() == ']' {
			h.at++
			return list, nil
		}
		if err := h.take(','); err != nil {
			return nil, err
		}
	}
}

func (h *headerReader) number() (uint64, error) {
	c := h.next()
	if c != '-' && (c < '0' || c > '9') {
		return 0, h.unexpected("a number")
	}
	end := h.at
	for end < len(h.text) && strings.IndexByte("+-.eE0123456789", h.text[end]) >= 0 {
		end++
	}
	text := string(h.text[h.at:min(end, h.at+24)])
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil || len(text) > 1 && text[0] == '0' {
		return 0, fmt.Errorf("%s is not a size", text)
	}
	h.at = end
	return v, nil
}

// str is a string of at most so many bytes as it is written.
func (h *headerReader) str(longest int) (string, error) {
	if h.next() != '"' {
		return "", h.unexpected("a string")
	}
	from := h.at + 1
	plain := true
	for i := from; i < len(h.text); i++ {
		switch c := h.text[i]; {
		case i-from > longest:
			return "", fmt.Errorf("a name that begins with %.40q has more than %d bytes", h.text[from:i], longest)
		case c == '\\':
			plain = false
			i++
		case c < ' ':
			return "", fmt.Errorf("a control character in the string %.40q", h.text[from:i])
		case c == '"':
			h.at = i + 1
			if plain {
				return string(h.text[from:i]), nil
			}
			var s string
			err := json.Unmarshal(h.text[from-1:i+1], &s)
			return s, err
		}
	}
	return "", io.ErrUnexpectedEOF
}
