package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/weights/safetensors"
)

// The values on the machine's stack are nil, bool, int64, float64, string, raw
// and pointers to the types below. Nothing has behaviour: an object is the name
// of its class and what its maker was given.
type (
	raw    []byte // bytes, and integers of more than 64 bits
	global struct{ module, name string }
	list   struct{ items []any }
	tuple  struct{ items []any }
	dict   struct{ keys, vals []any }
	object struct {
		class *global
		args  any
		state any
	}
	mark struct{}
)

func (g *global) String() string { return g.module + "." + g.name }

// get finds a string key; the last one counts, as in Python.
func (d *dict) get(key string) any {
	for i := len(d.keys) - 1; i >= 0; i-- {
		if d.keys[i] == any(key) {
			return d.vals[i]
		}
	}
	return nil
}

// inert are the modules whose classes may be named in a checkpoint. Naming is
// all that happens: they become objects that nobody looks into. A name from
// elsewhere is refused, since it says that the file wants to do something.
var inert = []string{
	"torch", "numpy", "collections", "pytorch_lightning", "lightning", "lightning_fabric",
	"omegaconf", "typing", "argparse", "pathlib", "enum", "datetime", "transformers", "diffusers", "__torch__",
}

// builtins that are types of data.
var builtins = map[string]bool{
	"int": true, "float": true, "bool": true, "str": true, "bytes": true, "bytearray": true, "complex": true,
	"list": true, "tuple": true, "dict": true, "set": true, "frozenset": true, "slice": true, "range": true, "object": true,
}

// ForbiddenError names what a pickle wants to call and may not.
type ForbiddenError struct{ Global string }

func (e *ForbiddenError) Error() string {
	return "the pickle names " + e.Global + ", which no checkpoint needs; nothing was executed"
}

func allowed(module, name string) error {
	top, _, _ := strings.Cut(module, ".")
	switch top {
	case "builtins", "__builtin__":
		if builtins[name] {
			return nil
		}
	case "_codecs":
		if name == "encode" {
			return nil
		}
	default:
		for _, m := range inert {
			if top == m {
				return nil
			}
		}
	}
	return &ForbiddenError{module + "." + name}
}

// machine runs a pickle's opcodes over plain values. Each opcode allocates no
// more than a fixed amount and what lies in the file behind it.
type machine struct {
	data []byte
	pos  int
	at   int // where the running opcode is

	stack []any
	memo  map[int]any

	persistent func(id any) (any, error)              // a storage
	reduce     func(f *global, args any) (any, error) // a call
}

var errShort = errors.New("the pickle ends early")

func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.pos) {
		return nil, errShort
	}
	b := m.data[m.pos : m.pos+int(n) : m.pos+int(n)]
	m.pos += int(n)
	return b, nil
}

// number reads a little-endian unsigned integer of n bytes.
func (m *machine) number(n int) (uint64, error) {
	b, err := m.take(uint64(n))
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:]), nil
}

// sized reads a length of n bytes, and as many bytes.
func (m *machine) sized(n int) ([]byte, error) {
	size, err := m.number(n)
	if err != nil {
		return nil, err
	}
	return m.take(size)
}

func (m *machine) line() (string, error) {
	i := bytes.IndexByte(m.data[m.pos:], '\n')
	if i < 0 {
		return "", errShort
	}
	s := m.data[m.pos : m.pos+i]
	m.pos += i + 1
	return string(s), nil
}

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

var errStack = errors.New("the stack is empty")

func (m *machine) pop() (any, error) {
	if len(m.stack) == 0 {
		return nil, errStack
	}
	v := m.stack[len(m.stack)-1]
	m.stack[len(m.stack)-1] = nil
	m.stack = m.stack[:len(m.stack)-1]
	if _, ok := v.(mark); ok {
		return nil, errors.New("a mark where a value is wanted")
	}
	return v, nil
}

func (m *machine) popN(n int) ([]any, error) {
	out := make([]any, n)
	for i := n - 1; i >= 0; i-- {
		v, err := m.pop()
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// popMark pops all above the last mark, and the mark.
func (m *machine) popMark() ([]any, error) {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if _, ok := m.stack[i].(mark); ok {
			items := append([]any(nil), m.stack[i+1:]...)
			clear(m.stack[i:])
			m.stack = m.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("no mark on the stack")
}

func (m *machine) top() (any, error) {
	if len(m.stack) == 0 {
		return nil, errStack
	}
	return m.stack[len(m.stack)-1], nil
}

// run executes opcodes up to STOP and returns the value left.
func (m *machine) run() (any, error) {
	m.stack, m.memo = nil, map[int]any{}
	for {
		m.at = m.pos
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' {
			v, err := m.pop()
			if err != nil {
				return nil, fmt.Errorf("at byte %d: %w", m.at, err)
			}
			return v, nil
		}
		if err := m.step(op[0]); err != nil {
			if err == errShort {
				return nil, err
			}
			return nil, fmt.Errorf("at byte %d: %w", m.at, err)
		}
	}
}

func (m *machine) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		v, err := m.number(1)
		if err == nil && v > 5 {
			err = fmt.Errorf("pickle protocol %d", v)
		}
		return err
	case 0x95: // FRAME
		_, err := m.number(8)
		return err

	// Plain values.
	case 'N':
		m.push(nil)
	case 0x88:
		m.push(true)
	case 0x89:
		m.push(false)
	case 'J': // BININT
		v, err := m.number(4)
		m.push(int64(int32(v)))
		return err
	case 'K':
		v, err := m.number(1)
		m.push(int64(v))
		return err
	case 'M':
		v, err := m.number(2)
		m.push(int64(v))
		return err
	case 'I', 'L':
		s, err := m.line()
		if err != nil {
			return err
		}
		if op == 'I' && (s == "00" || s == "01") {
			m.push(s == "01")
			return nil
		}
		v, err := strconv.ParseInt(strings.TrimSuffix(s, "L"), 10, 64)
		if err != nil {
			return fmt.Errorf("%.20q is not an integer of 64 bits", s)
		}
		m.push(v)
	case 0x8a, 0x8b: // LONG1, LONG4
		n := 1
		if op == 0x8b {
			n = 4
		}
		b, err := m.sized(n)
		if err != nil {
			return err
		}
		if len(b) > 8 {
			m.push(raw(b))
			return nil
		}
		var full [8]byte
		if len(b) > 0 && b[len(b)-1] >= 0x80 {
			full = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
		}
		copy(full[:], b)
		m.push(int64(binary.LittleEndian.Uint64(full[:])))
	case 'F':
		s, err := m.line()
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%.20q is not a number", s)
		}
		m.push(v)
	case 'G':
		b, err := m.take(8)
		if err != nil {
			return err
		}
		m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case 'U', 'T', 0x8c, 'X', 0x8d: // strings by the size of their length
		b, err := m.sized(map[byte]int{'U': 1, 0x8c: 1, 'T': 4, 'X': 4, 0x8d: 8}[op])
		if err != nil {
			return err
		}
		if !utf8.Valid(b) {
			m.push(raw(b))
			return nil
		}
		m.push(string(b))
	case 'V': // UNICODE
		s, err := m.line()
		m.push(s)
		return err
	case 'S': // STRING, quoted
		s, err := m.line()
		if err != nil {
			return err
		}
		if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '\'' && s[0] != '"') {
			return errors.New("a string without quotes")
		}
		m.push(s[1 : len(s)-1])
	case 'C', 'B', 0x8e, 0x96: // bytes
		b, err := m.sized(map[byte]int{'C': 1, 'B': 4, 0x8e: 8, 0x96: 8}[op])
		m.push(raw(b))
		return err

	// Containers.
	case '(':
		m.push(mark{})
	case ')':
		m.push(&tuple{})
	case ']':
		m.push(&list{})
	case '}':
		m.push(&dict{})
	case 0x8f: // EMPTY_SET
		m.push(&list{})
	case 0x85, 0x86, 0x87:
		items, err := m.popN(int(op-0x85) + 1)
		m.push(&tuple{items})
		return err
	case 't':
		items, err := m.popMark()
		m.push(&tuple{items})
		return err
	case 'l', 0x91: // LIST, FROZENSET
		items, err := m.popMark()
		m.push(&list{items})
		return err
	case 'd':
		items, err := m.popMark()
		if err != nil {
			return err
		}
		d := &dict{}
		m.push(d)
		return d.add(items)
	case 'a':
		items, err := m.popN(1)
		if err != nil {
			return err
		}
		return m.extend(items)
	case 'e', 0x90: // APPENDS, ADDITEMS
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.extend(items)
	case 's':
		items, err := m.popN(2)
		if err != nil {
			return err
		}
		return m.set(items)
	case 'u':
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.set(items)

	// The stack and the memo.
	case '0':
		if len(m.stack) > 0 {
			m.stack = m.stack[:len(m.stack)-1]
			return nil
		}
		return errStack
	case '1':
		_, err := m.popMark()
		return err
	case '2':
		v, err := m.top()
		if _, ok := v.(mark); ok {
			return errors.New("a mark where a value is wanted")
		}
		m.push(v)
		return err
	case 'q', 'r', 'p', 0x94:
		key, err := m.memoKey(op)
		if err != nil {
			return err
		}
		v, err := m.top()
		if err != nil {
			return err
		}
		if _, ok := v.(mark); ok {
			return errors.New("a mark where a value is wanted")
		}
		m.memo[key] = v
	case 'h', 'j', 'g':
		key, err := m.memoKey(op)
		if err != nil {
			return err
		}
		v, ok := m.memo[key]
		if !ok {
			return fmt.Errorf("nothing was memoised as %d", key)
		}
		m.push(v)

	// Names, and what is done with them.
	case 'c':
		module, err := m.line()
		if err != nil {
			return err
		}
		name, err := m.line()
		if err != nil {
			return err
		}
		return m.global(module, name)
	case 0x93: // STACK_GLOBAL
		items, err := m.popN(2)
		if err != nil {
			return err
		}
		module, ok1 := items[0].(string)
		name, ok2 := items[1].(string)
		if !ok1 || !ok2 {
			return errors.New("a global whose name is no string")
		}
		return m.global(module, name)
	case 'R', 0x81: // REDUCE, NEWOBJ
		items, err := m.popN(2)
		if err != nil {
			return err
		}
		return m.call(items[0], items[1])
	case 0x92: // NEWOBJ_EX
		items, err := m.popN(3)
		if err != nil {
			return err
		}
		return m.call(items[0], items[1])
	case 'b': // BUILD
		items, err := m.popN(1)
		if err != nil {
			return err
		}
		v, err := m.top()
		if o, ok := v.(*object); ok {
			o.state = items[0]
		}
		return err // the attributes of a dict (_metadata) and of a tensor are dropped
	case 'Q': // BINPERSID
		id, err := m.pop()
		if err != nil {
			return err
		}
		v, err := m.persistent(id)
		m.push(v)
		return err
	default:
		return fmt.Errorf("opcode %#02x is not one that torch writes", op)
	}
	return nil
}

func (m *machine) memoKey(op byte) (int, error) {
	switch op {
	case 0x94: // MEMOIZE
		return len(m.memo), nil
	case 'p', 'g':
		s, err := m.line()
		if err != nil {
			return 0, err
		}
		key, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return 0, fmt.Errorf("%.20q does not name a memo", s)
		}
		return int(key), nil
	case 'r', 'j':
		key, err := m.number(4)
		return int(key), err
	}
	key, err := m.number(1)
	return int(key), err
}

// maxName is the longest name that a class, a storage or a tensor may have, in
// bytes: names are looked at again and again, and a pickle can use one a
// million times that stands in it once.
const maxName = safetensors.MaxName

func (m *machine) global(module, name string) error {
	if len(module)+len(name) > maxName {
		return fmt.Errorf("a class whose name has more than %d bytes", maxName)
	}
	if err := allowed(module, name); err != nil {
		return err
	}
	m.push(&global{module, name})
	return nil
}

func (m *machine) call(f, args any) error {
	g, ok := f.(*global)
	if !ok {
		// Something that was made by an inert class: stays inert.
		if o, isObject := f.(*object); isObject {
			m.push(&object{class: o.class, args: args})
			return nil
		}
		return fmt.Errorf("a call of a value (%T)", f)
	}
	v, err := m.reduce(g, args)
	if err != nil {
		return err
	}
	m.push(v)
	return nil
}

func (m *machine) extend(items []any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *list:
		v.items = append(v.items, items...)
	case *object: // an inert class that is a list
	default:
		return fmt.Errorf("items for a value that is no list (%T)", v)
	}
	return nil
}

func (m *machine) set(items []any) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *dict:
		return v.add(items)
	case *object: // an inert class that is a dictionary
		return nil
	}
	return fmt.Errorf("items for a value that is no dictionary (%T)", v)
}

func (d *dict) add(items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		switch items[i].(type) {
		case raw: // not comparable, and no tensor's name
			continue
		}
		d.keys = append(d.keys, items[i])
		d.vals = append(d.vals, items[i+1])
	}
	return nil
}
