package main

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"
)

// checked is an output that remembers its first error: what could not be
// written makes the program fail, whoever wrote it.
type checked struct {
	io.Writer
	err error
}

func (c *checked) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

// Unwrap is what is written to, for who asks whether it is a terminal.
func (c *checked) Unwrap() io.Writer { return c.Writer }

// asJSON is a value for --json, or a line of --jsonl.
func (a *app) asJSON(v any, prefix string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if !a.jsonl {
		e.SetIndent(prefix, "  ")
	}
	err := e.Encode(v)
	return b.Bytes(), err
}

// print prints a value as JSON.
func (a *app) print(v any) error {
	data, err := a.asJSON(v, "")
	if err == nil {
		_, err = a.out.Write(data)
	}
	return err
}

// entries are printed as each is there: of an array, or lines of --jsonl. Without
// either it prints nothing.
type entries struct {
	a *app
	n int
}

func (l *entries) add(v any) error {
	if !l.a.json {
		return l.a.out.err
	}
	data, err := l.a.asJSON(v, "  ")
	if err != nil {
		return err
	}
	if !l.a.jsonl {
		comma := ",\n  "
		if l.n == 0 {
			comma = "[\n  "
		}
		data = append([]byte(comma), bytes.TrimSuffix(data, []byte("\n"))...)
	}
	l.n++
	_, err = l.a.out.Write(data)
	return err
}

// end closes the array.
func (l *entries) end() error {
	if !l.a.json || l.a.jsonl {
		return nil
	}
	end := "\n]\n"
	if l.n == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(l.a.out, end)
	return err
}

// raw are the bytes of a name that is not UTF-8, which JSON keeps in base64 in a
// field beside it: "file_bytes". nil of others.
func raw(name string) []byte {
	if utf8.ValidString(name) {
		return nil
	}
	return []byte(name)
}
