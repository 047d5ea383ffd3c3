package weights

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Python's json writes Infinity, -Infinity and NaN, which RFC 8259 does not
// allow, and diffusers saves them (lambda_min_clipped of DPM-Solver++). While
// encoding/json reads or writes, such a number is a string that begins with
// notFinite: no text of a model has a NUL.
const notFinite = "\x00"

// quotedNotFinite is how encoding/json writes the beginning of such a string.
const quotedNotFinite = `"\u0000`

// constants are Python's, the longest first.
var constants = []string{"-Infinity", "Infinity", "NaN"}

// DecodeJSON reads one JSON object as Python's json does: a byte-order mark
// may stand before it, and numbers may be Infinity, -Infinity and NaN, which
// become float64; other numbers stay json.Number. A key that comes twice is an error: of
// its two values one would be passed over. The name is for messages.
func DecodeJSON(name string, data []byte) (map[string]any, error) {
	if what := foreign(data); what != "" && len(data) > 0 && data[0] != '{' {
		return nil, &ForeignError{name, what}
	}
	data = quoteConstants(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if key := Twice(data, func(key string) string { return key }); key != "" {
		return nil, fmt.Errorf("%s: %s comes twice", name, strings.Join(slices.Collect(key.Tokens()), "."))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%s: text after the object", name)
	}
	if m == nil {
		return nil, fmt.Errorf("%s: null, want an object", name)
	}
	for k, v := range m {
		m[k] = unquoteConstants(v)
	}
	return m, nil
}

// Twice points to a key that comes twice in its object, of those that fold makes equal; ""
// where none does. encoding/json keeps the last and says nothing.
func Twice(data []byte, fold func(string) string) jsontext.Pointer {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var seen []map[string]bool // of the objects and lists that are open
	for {
		t, err := d.ReadToken()
		if err != nil {
			return ""
		}
		switch t.Kind() {
		case '{', '[':
			seen = append(seen, map[string]bool{})
		case '}', ']':
			seen = seen[:len(seen)-1]
		case '"':
			if kind, n := d.StackIndex(d.StackDepth()); kind == '{' && n%2 == 1 { // a name
				own, key := seen[len(seen)-1], fold(t.String())
				if own[key] {
					return d.StackPointer()
				}
				own[key] = true
			}
		}
	}
}

// quoteConstants makes strings of the constants outside of strings.
func quoteConstants(data []byte) []byte {
	if !bytes.Contains(data, []byte("Infinity")) && !bytes.Contains(data, []byte("NaN")) {
		return data
	}
	out := make([]byte, 0, len(data)+16)
	for i := 0; i < len(data); {
		switch data[i] {
		case '"':
			end := i + 1
			for end < len(data) && data[end] != '"' {
				if data[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(data))
			out = append(out, data[i:end]...)
			i = end
			continue
		case '-', 'I', 'N':
			if c := constantAt(data[i:]); c != "" {
				out = append(append(append(out, quotedNotFinite...), c...), '"')
				i += len(c)
				continue
			}
		}
		out = append(out, data[i])
		i++
	}
	return out
}

func constantAt(data []byte) string {
	for _, c := range constants {
		if bytes.HasPrefix(data, []byte(c)) {
			return c
		}
	}
	return ""
}

func unquoteConstants(v any) any {
	switch v := v.(type) {
	case string:
		switch name, _ := strings.CutPrefix(v, notFinite); {
		case len(name) == len(v):
		case name == "Infinity":
			return math.Inf(1)
		case name == "-Infinity":
			return math.Inf(-1)
		case name == "NaN":
			return math.NaN()
		}
	case []any:
		for i := range v {
			v[i] = unquoteConstants(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = unquoteConstants(v[k])
		}
	}
	return v
}

// MarshalJSON writes the keys sorted and indented, without the file's name, and
// what is not finite as Python's json does: DecodeJSON reads it.
func (c Config) MarshalJSON() ([]byte, error) {
	data, err := json.MarshalIndent(quoted(c), "", "  ")
	if err != nil {
		return nil, err
	}
	for _, name := range constants {
		data = bytes.ReplaceAll(data, []byte(quotedNotFinite+name+`"`), []byte(name))
	}
	return data, nil
}

// quoted is a copy with strings for what is not finite, and without the name of
// the file.
func quoted(v any) any {
	switch v := v.(type) {
	case Config:
		return quoted(map[string]any(v))
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			if k != fileKey {
				m[k] = quoted(x)
			}
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, x := range v {
			list[i] = quoted(x)
		}
		return list
	case float64:
		switch {
		case math.IsNaN(v):
			return notFinite + "NaN"
		case math.IsInf(v, 1):
			return notFinite + "Infinity"
		case math.IsInf(v, -1):
			return notFinite + "-Infinity"
		}
	}
	return v
}
