package weights

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"parley/engine"
	"parley/engine/host"
	"parley/weights/packed"
	"parley/weights/safetensors"
)

func write(t *testing.T, path string, entries ...Entry) {
	t.Helper()
	if err := safetensors.WriteFile(path, entries); err != nil {
		t.Fatal(err)
	}
}

func one(name, dtype, data string, dims ...int) Entry {
	return Entry{Name: name, DType: dtype, Shape: engine.Shape(dims), Data: []byte(data)}
}

func TestLoader(t *testing.T) {
	s := NewSet([]Entry{
		one("net.f32", "F32", "\x00\x00\x80\x3f\x00\x00\x00\xc0", 2), one("net.f16", "F16", "\x00\x3e", 1),
		one("net.bf16", "BF16", "\x40\x40", 1), one("net.f64", "F64", "\x00\x00\x00\x00\x00\x00\xe0\x3f", 1),
		one("net.ids", "I64", "12345678", 1),
	})
	l := s.Loader(host.New(1)).In("net")
	have := fmt.Sprintln(l.F32("f32", 2), l.F32("f16", 1), l.F32("bf16", 1), l.F32("f64", 1), l.Prefix(), l.Has("f16"), l.Has("net.f16"))
	if have != "[1 -2] [1.5] [3] [0.5] net. true false\n" || l.Err() != nil {
		t.Errorf("%s, %v", have, l.Err())
	}
	rest := NewSet([]Entry{one("a", "F32", "\x00\x00\x80\x3f", 1), one("b", "F32", "\x00\x00\x80\x3f", 1),
		one("loss.logvar", "F32", "\x00\x00\x80\x3f", 1)}).Loader(host.New(1))
	rest.F32("a", 1)
	rest.Unread("a net")
	if err := rest.Err(); err == nil || !strings.HasPrefix(err.Error(), "b [1]: a net has no use for it") ||
		strings.Contains(err.Error(), "more") {
		t.Errorf("unread tensors: %v", err)
	}
	if square := NewSet([]Entry{one("m", "F32", strings.Repeat("0", 24), 2, 3)}).Loader(host.New(1)); square.F32("m", 3, 2) != nil ||
		square.Err() == nil || !strings.Contains(square.Err().Error(), "m: have [2 3], want [3 2]") {
		t.Errorf("a matrix that lies: %v", square.Err())
	}
	z := l.F32("f32", 3)
	l.F32("ids", 1)
	if z != nil || s.Loader(host.New(1)).In("a").In("b").F32("c", 1<<40, 1<<40) != nil {
		t.Error("values for what is missing")
	}
	var shape *ShapeError
	if err := l.Err(); !errors.As(err, &shape) || !strings.Contains(err.Error(), "net.f32: have [2], want [3]") ||
		!strings.Contains(err.Error(), "net.ids: have I64, want a floating-point tensor") {
		t.Errorf("have %v", err)
	}
	for range 20 {
		l.F32("missing", 1)
	}
	if err := l.Err().Error(); !strings.Contains(err, "net.missing: missing, want [1]") || !strings.Contains(err, "and 14 more errors") {
		t.Errorf("have %v", err)
	}
	if l.F32("wild", 1<<40, 1<<40) != nil {
		t.Error("a wild shape was allocated")
	}
}

// TestNamedTwice: of two tensors of a name the last is kept, and there is one.
func TestNamedTwice(t *testing.T) {
	s := NewSet([]Entry{one("b", "U8", "1", 1), one("a", "U8", "2", 1), one("b", "U8", "34", 2)})
	e, ok := s.Entry("b")
	if !ok || string(e.Data) != "34" || s.Len() != 2 || fmt.Sprint(s.Names()) != "[a b]" || len(s.Entries()) != 2 ||
		string(s.Entries()[1].Data) != "34" {
		t.Errorf("%v: %v", s.Names(), e)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	var none *NoWeightsError
	if _, err := Open(dir); !errors.As(err, &none) || !strings.Contains(err.Error(), "looked for model.safetensors, ") {
		t.Errorf("have %v", err)
	}
	a, b := one("a", "U8", "1", 1), one("b", "U8", "2", 1)
	steps := []struct{ file, tensor string }{
		{"x.safetensors", "x"}, {"model.fp16.safetensors", "half"}, {"model.safetensors", "full"},
	}
	for _, c := range steps {
		write(t, filepath.Join(dir, c.file), one(c.tensor, "U8", "1", 1))
		for _, open := range []func() (*Set, error){
			func() (*Set, error) { return Open(dir) },
			func() (*Set, error) { return OpenFS(os.DirFS(dir), ".") },
			func() (*Set, error) { return Open(filepath.Join(dir, c.file)) },
		} {
			s, err := open()
			if err != nil || fmt.Sprint(s.Names()) != "["+c.tensor+"]" {
				t.Fatalf("%s: %v", c.file, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	// A packed file stands for the plain one, which goes before it.
	full := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	p, err := packed.Pack(data, 1)
	if err == nil {
		err = errors.Join(os.WriteFile(full+packed.Extension, p, 0o644), os.Remove(full))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []func() (*Set, error){
		func() (*Set, error) { return Open(dir) },
		func() (*Set, error) { return OpenFS(os.DirFS(dir), ".") },
		func() (*Set, error) { return OpenFS(os.DirFS(dir), "model.safetensors") },
		func() (*Set, error) { return Open(full) },
		func() (*Set, error) { return Open(full + packed.Extension) },
	} {
		if s, err := open(); err != nil || fmt.Sprint(s.Names()) != "[full]" {
			t.Errorf("packed: %v", err)
		}
	}
	if err := os.WriteFile(full+packed.Extension, p[:len(p)-3], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "unpack "+full) {
		t.Errorf("a cut file: %v", err)
	}
	shards := t.TempDir()
	write(t, filepath.Join(shards, "m-1.safetensors"), a)
	write(t, filepath.Join(shards, "m-2.safetensors"), b)
	if _, err := Open(shards); err == nil || !strings.Contains(err.Error(),
		"several checkpoints, name one: m-1.safetensors, m-2.safetensors") {
		t.Errorf("have %v", err)
	}
	index := filepath.Join(shards, "model.safetensors.index.json")
	for json, want := range map[string]string{
		`{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}`: "",
		`{"weight_map":{"c":"m-1.safetensors"}}`:                       "c is not in",
		`{"weight_map":{"c":"../m-1.safetensors"}}`:                    "is not a shard of this folder",
		`{"weight_map":{}}`:                                            "no weight_map",
		`{"weight_map":{"c":"gone"}}`:                                  "shard of",
	} {
		if err := os.WriteFile(index, []byte(json), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(shards)
		if want == "" && (err != nil || s.Len() != 2) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: have %v, want %s", json, err, want)
		}
	}
}

func TestConfig(t *testing.T) {
	fsys := fstest.MapFS{"c.json": {Data: []byte(`{"i":8,"f":8.0,"h":0.5,"list":[5,10],"s":"x","b":true,"n":null,"sub":{"k":1}}`)}}
	c, err := ReadConfig(fsys, "c.json")
	if err != nil {
		t.Fatal(err)
	}
	r := c.Reader()
	have := fmt.Sprintln(r.Int("i", 0), r.Int("f", 0), r.Int("n", 3), r.Float("h", 0), r.Ints("i", nil), r.Ints("list", nil),
		r.Spread("i", 3, 0), r.Spread("list", 2, 0), r.String("s", ""), r.Bool("b", false), r.Strings("s", nil))
	if have != "8 8 3 0.5 [8] [5 10] [8 8 8] [5 10] x true [x]\n" || r.Err() != nil {
		t.Errorf("%s, %v", have, r.Err())
	}
	r.Int("s", 0)
	r.Spread("list", 3, 1)
	r.Bool("i", false)
	want := "s: have \"x\", want an integer (c.json)\nlist: have [5,10], want an integer or a list of 3 (c.json)\ni: have 8, want true or " +
		"false (c.json)"
	if r.Err() == nil || r.Err().Error() != want {
		t.Errorf("have %v", r.Err())
	}
	sub, err := c.Sub("sub")
	if _, e := sub.String("k", ""); err != nil || e == nil || e.Error() != "k: have 1, want a string (c.json: sub)" {
		t.Errorf("%v, %v", err, e)
	}
	for text, want := range map[string]string{"": "unexpected EOF", "null": "want an object", "{}x": "text after the object",
		"[]": "cannot unmarshal"} {
		if _, err := ParseConfig("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: have %v, want %s", text, err, want)
		}
	}
}

// TestOnly: a configuration from a file and one that was inferred from shapes
// are read alike.
func TestOnly(t *testing.T) {
	file, err := ParseConfig("f", []byte(`{"types":["A","A"],"mixed":["A","B"],"n":[3,3],"x":2.0,"none":null,"object":{"A":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	inferred := Config{"types": []string{"A", "A"}, "mixed": []string{"A", "B"}, "n": []int{3, 3}, "x": 2, "object": Config{"A": 1}}
	for i, c := range []Config{file, inferred} {
		r := c.Reader()
		r.Only("types", "A", "")
		r.Only("n", 3, "")
		r.Only("x", 2, "")
		r.Only("none", nil, "")
		r.Only("missing", nil, "")
		if err := r.Err(); err != nil {
			t.Errorf("configuration %d: %v", i, err)
		}
		for key, value := range map[string]any{"mixed": "A", "types": "B", "n": 4, "x": nil, "object": "A"} {
			r := c.Reader()
			if r.Only(key, value, "why"); r.Err() == nil {
				t.Errorf("configuration %d: %s passes for %v", i, key, value)
			}
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"a":[1,2],"b":8.5,"c":{"a":"x"}}`), "a")
	f.Add([]byte(`{"a":1e400}`), "a")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		c, err := ParseConfig("f", data)
		if err != nil {
			return
		}
		r := c.Reader()
		r.Int(key, 0)
		r.Float(key, 0)
		r.Strings(key, nil)
		if n := len(r.Spread(key, 3, 1)); n != 3 {
			t.Errorf("%d values", n)
		}
		if _, err := c.MarshalJSON(); err != nil {
			t.Error(err)
		}
	})
}
