package parameters

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"parley/nets/pixels"
)

// text is a text chunk: tEXt where Latin-1 has its letters, as Pillow writes it,
// iTXt elsewhere.
type text struct{ keyword, text string }

const signature = "\x89PNG\r\n\x1a\n"

// encode writes a PNG with text chunks behind its header.
func encode(w io.Writer, m *pixels.Image, texts []text) error {
	const header = len(signature) + 25 // with IHDR
	var chunks bytes.Buffer
	for _, t := range texts {
		t.text = strings.ReplaceAll(strings.ToValidUTF8(t.text, "\ufffd"), "\x00", " ") // as the format wants it
		t.write(&chunks)
	}
	in := &inserter{w: w, at: header, what: chunks.Bytes()}
	return m.EncodePNG(in)
}

// inserter writes what it is given with something in between.
type inserter struct {
	w    io.Writer
	at   int // bytes until what comes
	what []byte
}

func (i *inserter) Write(p []byte) (int, error) {
	if i.what == nil {
		return i.w.Write(p)
	}
	n := min(i.at, len(p))
	if k, err := i.w.Write(p[:n]); err != nil {
		return k, err
	}
	if i.at -= n; i.at > 0 {
		return n, nil
	}
	if _, err := i.w.Write(i.what); err != nil {
		return n, err
	}
	i.what = nil
	k, err := i.w.Write(p[n:])
	return n + k, err
}

func (t text) write(b *bytes.Buffer) {
	kind, data := "tEXt", append([]byte(t.keyword), 0)
	for _, r := range t.text {
		if r > 0xff {
			kind = "iTXt"
		}
	}
	if kind == "iTXt" {
		data = append(data, 0, 0, 0, 0) // plain; no language, no translated keyword
		data = append(data, t.text...)
	} else {
		for _, r := range t.text {
			data = append(data, byte(r))
		}
	}
	chunk := append([]byte(kind), data...)
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
	b.Write(chunk)
	b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(chunk)))
}

// maxText is how long a text chunk may be, in bytes, and unpacked.
const maxText = 1 << 20

// readTexts gives a PNG's texts by their keywords, the first of each.
func readTexts(r io.Reader) (map[string]string, error) {
	head := make([]byte, len(signature))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != signature {
		return nil, errors.New("not a PNG file, which alone tells how it was drawn")
	}
	out := map[string]string{}
	for {
		var h [8]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return nil, fmt.Errorf("PNG: the file is cut short: %w", err)
		}
		size, kind := int64(binary.BigEndian.Uint32(h[:])), string(h[4:])
		switch kind {
		case "IEND":
			return out, nil
		case "tEXt", "zTXt", "iTXt":
			if size > maxText {
				return nil, fmt.Errorf("PNG: a text chunk of %d bytes, at most %d are read", size, maxText)
			}
			data := make([]byte, size+4)
			if _, err := io.ReadFull(r, data); err != nil {
				return nil, fmt.Errorf("PNG: the file is cut short: %w", err)
			}
			sum := crc32.Update(crc32.ChecksumIEEE(h[4:]), crc32.IEEETable, data[:size])
			if sum != binary.BigEndian.Uint32(data[size:]) {
				return nil, fmt.Errorf("PNG: a damaged text chunk")
			}
			t, err := parseText(kind, data[:size])
			if err != nil {
				return nil, fmt.Errorf("PNG: %s: %w", kind, err)
			}
			if _, ok := out[t.keyword]; !ok {
				out[t.keyword] = t.text
			}
		default:
			if _, err := io.CopyN(io.Discard, r, size+4); err != nil {
				return nil, fmt.Errorf("PNG: the file is cut short: %w", err)
			}
		}
	}
}

var errText = errors.New("not a keyword and a text")

func parseText(kind string, data []byte) (t text, err error) {
	keyword, rest, ok := bytes.Cut(data, []byte{0})
	if !ok {
		return t, errText
	}
	t.keyword = latin1(keyword)
	packed := kind == "zTXt"
	switch kind {
	case "zTXt":
		if len(rest) < 1 || rest[0] != 0 {
			return t, errText
		}
		rest = rest[1:]
	case "iTXt":
		if len(rest) < 2 {
			return t, errText
		}
		packed = rest[0] == 1
		_, rest, ok = bytes.Cut(rest[2:], []byte{0}) // the language
		if ok {
			_, rest, ok = bytes.Cut(rest, []byte{0}) // the translated keyword
		}
		if !ok {
			return t, errText
		}
	}
	if packed {
		z, err := zlib.NewReader(bytes.NewReader(rest))
		if err != nil {
			return t, err
		}
		if rest, err = io.ReadAll(io.LimitReader(z, maxText+1)); err != nil {
			return t, err
		}
		if len(rest) > maxText {
			return t, fmt.Errorf("more than %d bytes", maxText)
		}
	}
	if t.text = string(rest); kind != "iTXt" {
		t.text = latin1(rest)
	}
	return t, nil
}

// latin1 reads ISO 8859-1.
func latin1(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return string(out)
}
