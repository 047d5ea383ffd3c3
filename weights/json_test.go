package weights

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// TestPythonJSON: what Python's json writes is read, and written again.
func TestPythonJSON(t *testing.T) {
	const text = "\xef\xbb\xbf" + `{"low": -Infinity, "high": Infinity, "none": NaN, "text": "say \"Infinity\" or NaN",
 "list": [1, -Infinity, {"x": NaN}], "null": null, "n": 12345678901234567, "e": 1e-5, "minus": -3}`
	c, err := ParseConfig("f.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Reader()
	if low, high := r.Real("low", 0), r.Real("high", 0); !math.IsInf(low, -1) || !math.IsInf(high, 1) {
		t.Errorf("have %v and %v", low, high)
	}
	if s := r.String("text", ""); s != `say "Infinity" or NaN` {
		t.Errorf("have %q", s)
	}
	if n := r.Int("n", 0); n != 12345678901234567 || r.Int("minus", 0) != -3 || r.Float("e", 0) != 1e-5 {
		t.Errorf("have %d", n)
	}
	if !r.Null("null") || r.Null("missing") || r.Null("low") || r.Has("null") {
		t.Error("null")
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"low": "low: have -Inf, want a finite number (f.json)", "none": "none: have NaN, want a number (f.json)",
	} {
		if _, err := c.Float(key, 0); err == nil || err.Error() != want {
			t.Errorf("have %v, want %s", err, want)
		}
		if _, err := c.Int(key, 0); err == nil || !strings.Contains(err.Error(), "want an integer") {
			t.Errorf("have %v", err)
		}
	}
	again, err := c.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "e": 1e-5,
  "high": Infinity,
  "list": [
    1,
    -Infinity,
    {
      "x": NaN
    }
  ],
  "low": -Infinity,
  "minus": -3,
  "n": 12345678901234567,
  "none": NaN,
  "null": null,
  "text": "say \"Infinity\" or NaN"
}`
	if string(again) != want {
		t.Errorf("have %s\nwant %s", again, want)
	}
	for _, bad := range []string{`{"a": Infinit}`, `{"a": -}`, `{"Infinity: 1}`, `{"a": NaNa}`, `NaN`, `{"a": "\`} {
		if c, err := ParseConfig("f.json", []byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "f.json: ") {
			t.Errorf("%s: have %v, %v", bad, c, err)
		}
	}
}

func TestNumbersAndLists(t *testing.T) {
	c, err := ParseConfig("f", []byte(`{"one": 7, "two": [7, 9], "same": [7, 7], "three": [1, 2, 3], "mean": 0.5, "means": [0.1,
		0.2, 0.3], "bad": [0.1, null, 0.3], "no": null, "name": "a"}`))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Reader()
	h1, w1 := r.Sides("one", 1)
	h2, w2 := r.Sides("two", 1)
	h3, w3 := r.Sides("no", 5)
	have := fmt.Sprint(h1, w1, h2, w2, h3, w3, r.Square("same", 1), r.Square("one", 1), r.Floats("mean", 3, nil), r.Floats("means", 3,
		nil), r.Floats("no", 3, nil))
	if want := "7 7 7 9 5 5 7 7 [0.5 0.5 0.5] [0.1 0.2 0.3] []"; have != want || r.Err() != nil {
		t.Errorf("have %s, %v", have, r.Err())
	}
	for want, read := range map[string]func(r *Reader){
		"two is [7,9]: only squares are supported (f)":               func(r *Reader) { r.Square("two", 1) },
		"three: have [1,2,3], want an integer or a list of 2 (f)":    func(r *Reader) { r.Sides("three", 1) },
		"bad: have [0.1,null,0.3], want a number or a list of 3 (f)": func(r *Reader) { r.Floats("bad", 3, nil) },
		"one is 7, want 8 to 9 (f)":                                  func(r *Reader) { r.Within("one", 8, 8, 9) },
		`name is "a", supported: b, c (f)`:                           func(r *Reader) { r.OneOf("name", "b", "b", "c") },
		"two: have [7,9], want a number or a list of 3 (f)":          func(r *Reader) { r.Floats("two", 3, nil) },
	} {
		r := c.Reader()
		read(r)
		if err := r.Err(); err == nil || err.Error() != want {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}

// TestKeysTwice: of a key that comes twice neither value is passed over.
func TestKeysTwice(t *testing.T) {
	for text, want := range map[string]string{
		`{"hidden_size": 64, "x": NaN, "hidden_size": 32}`:                   "f.json: hidden_size comes twice",
		`{"a": {"b": [{"c": 1}, {"c": 1, "\u0063": Infinity}]}, "c": false}`: "f.json: a.b.1.c comes twice",
		`{"a": {"b": 1}, "b": [{"b": 1}, {"b": 2}], "B": "` + "\xff" + `"}`:  "",
	} {
		if _, err := ParseConfig("f.json", []byte(text)); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: have %v, want %s", text, err, want)
		}
	}
}
