package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
)

// Config is a model's config.json. The getters return a default where the key
// is missing or null (Bool: where it is missing), and an error that names the key
// and the file where its value has another type.
type Config map[string]any

// fileKey holds the file's name; no JSON key of a model has a NUL.
const fileKey = "\x00file"

// ReadConfig reads a JSON object.
func ReadConfig(fsys fs.FS, path string) (Config, error) {
	data, err := fs.ReadFile(fsys, path)
	if err != nil {
		return nil, err
	}
	return ParseConfig(path, data)
}

// ParseConfig reads a JSON object as Python's json does; the name is for
// messages.
func ParseConfig(name string, data []byte) (Config, error) {
	m, err := DecodeJSON(name, data)
	if err != nil {
		return nil, err
	}
	c := Config(m)
	c[fileKey] = name
	return c, nil
}

// File is the name of the file that the configuration was read from.
func (c Config) File() string {
	name, _ := c[fileKey].(string)
	return name
}

// Has reports whether the key is there and not null.
func (c Config) Has(key string) bool { return key != fileKey && c[key] != nil }

func (c Config) wrong(key, want string) error {
	return fmt.Errorf("%s: have %s, want %s%s", key, brief(c[key]), want, in(c.File()))
}

func brief(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprint(f)
	}
	b, err := json.Marshal(quoted(v))
	if err != nil {
		return fmt.Sprintf("%T", v)
	}
	if len(b) > 60 {
		return string(b[:57]) + "..."
	}
	return string(b)
}

// Null reports whether the key is there and null: where null has a meaning of
// its own, as for mid_block_type.
func (c Config) Null(key string) bool {
	v, ok := c[key]
	return ok && v == nil
}

// Int is an integer; 8.0 is one too.
func (c Config) Int(key string, def int) (int, error) {
	if !c.Has(key) {
		return def, nil
	}
	n, ok := integer(c[key])
	if !ok {
		return def, c.wrong(key, "an integer")
	}
	return n, nil
}

func integer(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case float64:
		return whole(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n), int64(int(n)) == n
		}
		f, err := v.Float64()
		if err != nil {
			return 0, false
		}
		return whole(f)
	}
	return 0, false
}

func whole(f float64) (int, bool) {
	if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	n := int(f)
	return n, float64(n) == f
}

// Float is a finite number.
func (c Config) Float(key string, def float64) (float64, error) {
	f, err := c.Real(key, def)
	if err == nil && c.Has(key) && math.IsInf(f, 0) {
		return def, c.wrong(key, "a finite number")
	}
	return f, err
}

// Real is a number that may be infinite.
func (c Config) Real(key string, def float64) (float64, error) {
	if !c.Has(key) {
		return def, nil
	}
	switch v := c[key].(type) {
	case int:
		return float64(v), nil
	case float64:
		if !math.IsNaN(v) {
			return v, nil
		}
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f, nil
		}
	}
	return def, c.wrong(key, "a number")
}

// Bool is true or false; null is false, as Python's if takes it.
func (c Config) Bool(key string, def bool) (bool, error) {
	if !c.Has(key) {
		return def && !c.Null(key), nil
	}
	b, ok := c[key].(bool)
	if !ok {
		return def, c.wrong(key, "true or false")
	}
	return b, nil
}

// String is a text.
func (c Config) String(key, def string) (string, error) {
	if !c.Has(key) {
		return def, nil
	}
	s, ok := c[key].(string)
	if !ok {
		return def, c.wrong(key, "a string")
	}
	return s, nil
}

// Ints is a list of integers, or one integer, which is a list of one
// (attention_head_dim is either). Use Spread where one stands for several.
func (c Config) Ints(key string, def []int) ([]int, error) {
	if !c.Has(key) {
		return def, nil
	}
	if n, ok := integer(c[key]); ok {
		return []int{n}, nil
	}
	if list, ok := c[key].([]int); ok {
		return list, nil
	}
	items, ok := c[key].([]any)
	if !ok {
		return def, c.wrong(key, "an integer or a list of integers")
	}
	list := make([]int, len(items))
	for i, item := range items {
		n, ok := integer(item)
		if !ok {
			return def, c.wrong(key, "an integer or a list of integers")
		}
		list[i] = n
	}
	return list, nil
}

// Spread is Ints for a key that has one value for each of n parts: a single
// integer stands for all of them, and another length is an error.
func (c Config) Spread(key string, n int, def int) ([]int, error) {
	list, err := c.Ints(key, []int{def})
	if err != nil {
		return nil, err
	}
	if len(list) == n {
		return list, nil
	}
	if _, isList := c[key].([]any); isList || len(list) != 1 || n < 0 {
		return nil, c.wrong(key, fmt.Sprintf("an integer or a list of %d", n))
	}
	out := make([]int, n)
	for i := range out {
		out[i] = list[0]
	}
	return out, nil
}

// Strings is a list of strings, or one string, which is a list of one.
func (c Config) Strings(key string, def []string) ([]string, error) {
	if !c.Has(key) {
		return def, nil
	}
	switch v := c[key].(type) {
	case string:
		return []string{v}, nil
	case []string:
		return v, nil
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				return def, c.wrong(key, "a list of strings")
			}
			list[i] = s
		}
		return list, nil
	}
	return def, c.wrong(key, "a list of strings")
}

// Sub is an object inside the object (text_config); an empty one where the key
// is missing.
func (c Config) Sub(key string) (Config, error) {
	sub := Config{}
	if c.Has(key) {
		var m map[string]any
		switch v := c[key].(type) {
		case map[string]any:
			m = v
		case Config:
			m = v
		default:
			return sub, c.wrong(key, "an object")
		}
		for k, v := range m {
			sub[k] = v
		}
	}
	if f := c.File(); f != "" {
		sub[fileKey] = f + ": " + key
	}
	return sub, nil
}

// Floats is a list of n finite numbers, or one, which stands for all of them.
func (c Config) Floats(key string, n int, def []float64) ([]float64, error) {
	if !c.Has(key) {
		return def, nil
	}
	items, isList := c[key].([]any)
	if !isList {
		items = make([]any, n)
		for i := range items {
			items[i] = c[key]
		}
	}
	if len(items) != n {
		return def, c.wrong(key, fmt.Sprintf("a number or a list of %d", n))
	}
	list := make([]float64, n)
	for i, item := range items {
		f, err := Config{key: item, fileKey: c.File()}.Float(key, 0)
		if err != nil || item == nil {
			return def, c.wrong(key, fmt.Sprintf("a number or a list of %d", n))
		}
		list[i] = f
	}
	return list, nil
}

// Reader reads keys one after the other and keeps the errors, as a Loader does.
type Reader struct {
	c    Config
	errs []error
}

// Reader starts reading.
func (c Config) Reader() *Reader { return &Reader{c: c} }

// Err joins the errors.
func (r *Reader) Err() error { return errors.Join(r.errs...) }

func keep[T any](r *Reader) func(T, error) T {
	return func(v T, err error) T {
		if err != nil {
			r.errs = append(r.errs, err)
		}
		return v
	}
}

// Int is Config.Int with the error kept.
func (r *Reader) Int(key string, def int) int { return keep[int](r)(r.c.Int(key, def)) }

// Sides are a height and a width: a list of two, or one number for both.
func (r *Reader) Sides(key string, def int) (height, width int) {
	if _, isList := r.c[key].([]any); !isList {
		n := r.Size(key, def)
		return n, n
	}
	both := r.Sizes(key, 2, def)
	return both[0], both[1]
}

// Square is Sides of a square.
func (r *Reader) Square(key string, def int) int {
	h, w := r.Sides(key, def)
	if h != w {
		r.Fail(fmt.Errorf("%s is %s: only squares are supported%s", key, brief(r.c[key]), in(r.c.File())))
	}
	return h
}

// Within is Int from least to most.
func (r *Reader) Within(key string, def, least, most int) int {
	n := r.Int(key, def)
	if n < least || n > most {
		r.Fail(fmt.Errorf("%s is %d, want %d to %d%s", key, n, least, most, in(r.c.File())))
		return def
	}
	return n
}

// OneOf is String for a choice.
func (r *Reader) OneOf(key, def string, choices ...string) string {
	v := r.String(key, def)
	if !slices.Contains(choices, v) {
		r.Fail(fmt.Errorf("%s is %q, supported: %s%s", key, v, strings.Join(choices, ", "), in(r.c.File())))
		return def
	}
	return v
}

// In is " (FILE)", for the end of an error.
func (r *Reader) In() string { return in(r.c.File()) }

// Null is Config.Null.
func (r *Reader) Null(key string) bool { return r.c.Null(key) }

// Has is Config.Has.
func (r *Reader) Has(key string) bool { return r.c.Has(key) }

// Real is Config.Real with the error kept.
func (r *Reader) Real(key string, def float64) float64 { return keep[float64](r)(r.c.Real(key, def)) }

// Floats is Config.Floats with the error kept.
func (r *Reader) Floats(key string, n int, def []float64) []float64 {
	return keep[[]float64](r)(r.c.Floats(key, n, def))
}

// Size is Int for what layers and tensors are made of, 1 to a million. A wild
// one would ask for more memory than there is before a tensor could contradict
// it.
func (r *Reader) Size(key string, def int) int { return r.Within(key, def, 1, 1<<20) }

// Layers is Int for how often something is repeated, 1 to 1,000.
func (r *Reader) Layers(key string, def int) int { return r.Within(key, def, 1, 1000) }

// Sizes is Spread for what Size reads one of.
func (r *Reader) Sizes(key string, n, def int) []int { return r.all(key, n, def, 1<<20) }

// Repeats is Spread for how often something is repeated.
func (r *Reader) Repeats(key string, n, def int) []int { return r.all(key, n, def, 1000) }

func (r *Reader) all(key string, n, def, most int) []int {
	list := r.Spread(key, n, def)
	for i, v := range list {
		if v < 1 || v > most {
			r.Fail(fmt.Errorf("%s has %d, want 1 to %d%s", key, v, most, in(r.c.File())))
			list[i] = def
		}
	}
	return list
}

// Epsilon is Float for what keeps a norm from dividing by zero: above 0 and
// below 1.
func (r *Reader) Epsilon(key string, def float64) float64 {
	e := r.Float(key, def)
	if !(e > 0 && e < 1) {
		r.Fail(fmt.Errorf("%s is %v, want more than 0 and less than 1%s", key, e, in(r.c.File())))
		return def
	}
	return e
}

// Float is Config.Float with the error kept.
func (r *Reader) Float(key string, def float64) float64 {
	return keep[float64](r)(r.c.Float(key, def))
}

// Bool is Config.Bool with the error kept.
func (r *Reader) Bool(key string, def bool) bool { return keep[bool](r)(r.c.Bool(key, def)) }

// String is Config.String with the error kept.
func (r *Reader) String(key, def string) string { return keep[string](r)(r.c.String(key, def)) }

// Ints is Config.Ints with the error kept.
func (r *Reader) Ints(key string, def []int) []int { return keep[[]int](r)(r.c.Ints(key, def)) }

// Spread is Config.Spread with the error kept; the list has n values even so.
func (r *Reader) Spread(key string, n, def int) []int {
	list := keep[[]int](r)(r.c.Spread(key, n, def))
	if list == nil && n > 0 {
		list = make([]int, n)
		for i := range list {
			list[i] = def
		}
	}
	return list
}

// Strings is Config.Strings with the error kept.
func (r *Reader) Strings(key string, def []string) []string {
	return keep[[]string](r)(r.c.Strings(key, def))
}

// Only keeps an error unless the key is missing, null, or has the value (or a
// list of nothing but it): a net that does not know another one would compute
// something else. A value of nil accepts none.
func (r *Reader) Only(key string, value any, why string) {
	if !r.c.Has(key) {
		return
	}
	// A list is []any from a file, and []string where it was inferred.
	var items []any
	switch list := r.c[key].(type) {
	case []any:
		items = list
	case []string:
		for _, s := range list {
			items = append(items, s)
		}
	case []int:
		for _, n := range list {
			items = append(items, n)
		}
	default:
		items = []any{list}
	}
	for _, item := range items {
		same := item == value
		if n, isNumber := item.(json.Number); isNumber && value != nil {
			f, err := n.Float64()
			same = err == nil && fmt.Sprint(f) == fmt.Sprint(value)
		}
		if !same {
			r.Fail(fmt.Errorf("%s is %s: %s%s", key, brief(r.c[key]), why, in(r.c.File())))
			return
		}
	}
}

// Token is the id of a token; a list of one is one, too.
func (r *Reader) Token(key string, def int) int {
	ids := r.Ints(key, []int{def})
	if len(ids) != 1 || ids[0] < 0 || ids[0] > 1<<30 {
		r.Fail(fmt.Errorf("%s is %s, want one id of a token%s", key, brief(r.c[key]), in(r.c.File())))
		return def
	}
	return ids[0]
}

// Unquantised keeps an error where a configuration asks for quantised weights.
func (r *Reader) Unquantised() {
	r.Only("quantization_config", nil, "quantised weights are not read")
}

// Empty keeps an error unless the key is missing, null, or an object without
// keys that are not null.
func (r *Reader) Empty(key, why string) {
	sub, err := r.c.Sub(key)
	r.Fail(err)
	for k := range sub {
		if sub.Has(k) {
			r.Fail(fmt.Errorf("%s is %s: %s%s", key, brief(r.c[key]), why, in(r.c.File())))
			return
		}
	}
}

// Fail keeps an error.
func (r *Reader) Fail(err error) {
	if err != nil {
		r.errs = append(r.errs, err)
	}
}
