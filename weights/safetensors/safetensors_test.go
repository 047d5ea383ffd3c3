package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"parley/engine"
)

func file(header, body string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+body...)
}

var sample = []Tensor{
	{Name: "b", DType: "F16", Shape: engine.Shape{3}, Data: []byte("abcdef")},
	{Name: "a \"x\"", DType: "F16", Shape: engine.Shape{1}, Data: []byte("gh")},
	{Name: "w", DType: "F32", Shape: engine.Shape{1, 2}, Data: []byte("01234567")},
	{Name: "n", DType: "I64", Shape: engine.Shape{}, Data: []byte("89abcdef")},
	{Name: "empty", DType: "BF16", Shape: engine.Shape{0, 4}, Data: []byte{}},
	{Name: "i", DType: "I32", Shape: engine.Shape{1}, Data: []byte("wxyz")},
}

func TestRoundTrip(t *testing.T) {
	var one, two bytes.Buffer
	back := make([]Tensor, len(sample))
	for i, e := range sample {
		back[len(sample)-1-i] = e
	}
	meta := map[string]string{"format": "pt", "z": "1"}
	if err := Write(&one, sample, meta); err != nil {
		t.Fatal(err)
	}
	if err := Write(&two, back, meta); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Fatalf("the order changes the bytes: %v", err)
	}
	for n := range 8 { // names of all lengths
		var b bytes.Buffer
		if err := Write(&b, []Tensor{{Name: "12345678"[n:], DType: "U8", Shape: engine.Shape{1}, Data: []byte("x")}}, nil); err != nil {
			t.Fatal(err)
		}
		if n := binary.LittleEndian.Uint64(b.Bytes()); n%8 != 0 {
			t.Errorf("a header of %d bytes is not aligned", n)
		}
	}
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := WriteFile(path, sample); err != nil {
		t.Fatal(err)
	}
	f, err := Map(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Metadata["format"] != "pt" || len(f.Tensors) != len(sample) {
		t.Fatalf("%v, %d tensors", f.Metadata, len(f.Tensors))
	}
	order := ""
	for _, have := range f.Tensors {
		order += have.Name + " "
		for _, want := range sample {
			if have.Name == want.Name && (have.DType != want.DType || !have.Shape.Equal(want.Shape) || !bytes.Equal(have.Data, want.Data) ||
				cap(have.Data) != len(want.Data) || have.File != path) {
				t.Errorf("have %v, want %v", have, want)
			}
		}
	}
	if want := `n i w a "x" b empty `; order != want { // wide ones first, so that each is aligned
		t.Errorf("the order is %s, want %s", order, want)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
	_, m, err := Parse("f", two.Bytes())
	if err != nil || !reflect.DeepEqual(m, meta) {
		t.Errorf("metadata %v, %v", m, err)
	}
}

func TestInvalid(t *testing.T) {
	one := func(s string) []byte { return file(`{"a":{`+s+`}}`, "0123") }
	huge := binary.LittleEndian.AppendUint64(nil, 1<<63)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"short", []byte("abc"), "f: not a safetensors file: 3 bytes, at least 8 wanted"},
		{"long header", binary.LittleEndian.AppendUint64(nil, MaxHeader+1),
			"f: not a safetensors file: a header of 100000001 bytes, at most 100000000 allowed"},
		{"longest header", binary.LittleEndian.AppendUint64(nil, MaxHeader), "f: truncated: a header of 100000000 bytes in a file of 8"},
		{"huge header", huge, "f: not a safetensors file: a header of 9223372036854775808 bytes, at most 100000000 allowed"},
		{"cut header", file("{}", "")[:9], "f: truncated: a header of 2 bytes in a file of 9"},
		{"no brace", file("[]", ""), "f: not a safetensors file: the header does not begin with {"},
		{"utf8", file("{\"\xff\":1}", ""), "f: the header is not UTF-8"},
		{"open", file("{", ""), "f: header: unexpected EOF"},
		{"trailing", file("{}{", ""), "f: header: text after the closing }"},
		{"twice", file(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{}}`, "0"), "f: header: a comes twice"},
		{"field twice", one(`"dtype":"F32","dtype":"F32"`), "f: header: a: dtype comes twice"},
		{"meta twice", file(`{"__metadata__":{"k":"1","k":"2"}}`, ""), "f: header: __metadata__: k comes twice"},
		{"meta number", file(`{"__metadata__":{"k":1}}`, ""), "f: header: have 1, want a string"},
		{"unknown field", one(`"x":1`), `f: header: a: unknown field "x"`},
		{"no shape", one(`"dtype":"F32","data_offsets":[0,4]`), "f: header: a: no shape"},
		{"fraction", one(`"dtype":"F32","shape":[1.5],"data_offsets":[0,4]`), "f: header: a: 1.5 is not a size"},
		{"negative", one(`"dtype":"F32","shape":[-1],"data_offsets":[0,4]`), "f: header: a: -1 is not a size"},
		{"three offsets", one(`"dtype":"F32","shape":[1],"data_offsets":[0,2,4]`), "f: header: a: 3 data_offsets, want 2"},
		{"backwards", one(`"dtype":"F32","shape":[1],"data_offsets":[4,0]`), "f: a: ends at 0, before it begins at 4"},
		{"over the end", one(`"dtype":"F32","shape":[2],"data_offsets":[0,8]`),
			"f: a: ends at 8, after the end of the data at 4 (a truncated file?)"},
		{"gap", one(`"dtype":"U8","shape":[2],"data_offsets":[2,4]`), "f: a: begins at 2, a gap after 0"},
		{"dtype", one(`"dtype":"F31","shape":[1],"data_offsets":[0,4]`), `f: a: unknown dtype "F31"`},
		{"size", one(`"dtype":"F32","shape":[2],"data_offsets":[0,4]`), "f: a: F32 [2] takes 8 bytes, the file has 4"},
		{"overflow", one(`"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]`),
			"f: a: the shape [4294967296 4294967296] overflows"},
		{"rest", one(`"dtype":"U8","shape":[3],"data_offsets":[0,3]`), "f: 1 bytes after the last tensor"},
		{"overlap", file(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, "0123"),
			"f: b: begins at 2, inside the tensor that ends at 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := Parse("f", c.data); err == nil || err.Error() != c.want {
				t.Errorf("have %v\nwant %s", err, c.want)
			}
		})
	}
	for want, list := range map[string][]Tensor{
		"a comes twice":                    {{Name: "a", DType: "U8", Shape: engine.Shape{0}}, {Name: "a", DType: "U8", Shape: engine.Shape{0}}},
		"a: F32 [2] takes 8 bytes, have 0": {{Name: "a", DType: "F32", Shape: engine.Shape{2}}},
		"does not name a tensor":           {{Name: "__metadata__", DType: "U8", Shape: engine.Shape{0}}},
		`a: unknown dtype "X"`:             {{Name: "a", DType: "X"}},
	} {
		if err := Write(&bytes.Buffer{}, list, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
	for _, n := range []int{3, 5} {
		err := WriteAs(&bytes.Buffer{}, []Tensor{{Name: "a", DType: "F32", Shape: engine.Shape{1}}}, nil, func(Tensor) error { return nil },
			func(w io.Writer, _ Tensor) error {
				_, err := w.Write(make([]byte, n))
				return err
			})
		if want := fmt.Sprintf("a: %d bytes were written, F32 [1] takes 4", n); err == nil || err.Error() != want {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}

// TestLimits: what a limit allows is read, and one more is refused.
func TestLimits(t *testing.T) {
	for over := range 2 {
		name := file(`{"`+strings.Repeat("x", MaxName+over)+`":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, "")
		rank := file(`{"a":{"dtype":"U8","shape":[0`+strings.Repeat(",1", MaxRank-1+over)+`],"data_offsets":[0,0]}}`, "")
		for what, data := range map[string][]byte{"a name": name, "a rank": rank} {
			if _, _, err := Parse("f", data); (err != nil) != (over > 0) {
				t.Errorf("%s of %d more than the limit: %v", what, over, err)
			}
		}
	}
}

// TestLongHeaders: a header is read in time that grows with its length, or it is
// refused by a limit.
func TestLongHeaders(t *testing.T) {
	const size = 20 << 20
	var many strings.Builder
	for i := 0; many.Len() < size; i++ {
		fmt.Fprintf(&many, `"layer.%d.weight":{"dtype":"U8","shape":[1,0],"data_offsets":[0,0]},`, i)
	}
	for _, c := range []struct{ name, header, want string }{
		{"a name", `{"` + strings.Repeat("x", size) + `":{}}`, "has more than 4096 bytes"},
		{"a field", `{"a":{"` + strings.Repeat("x", size) + `":0}}`, "has more than 4096 bytes"},
		{"a shape", `{"a":{"dtype":"U8","shape":[1` + strings.Repeat(",1", size/2) + `]}}`, "more than 64 dimensions"},
		{"offsets", `{"a":{"data_offsets":[1` + strings.Repeat(",1", size/2) + `]}}`, "more than 64 data_offsets"},
		{"a number", `{"a":{"shape":[` + strings.Repeat("1", size) + `]}}`, "is not a size"},
		{"braces", strings.Repeat(`{"a":`, size/5), `unknown field "a"`},
		{"spaces", "{" + strings.Repeat(" ", size) + "}", ""},
		{"metadata", `{"__metadata__":{"k":"` + strings.Repeat(`\u0041`, size/6) + `"}}`, ""},
		{"tensors", "{" + strings.TrimSuffix(many.String(), ",") + "}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			_, _, err := Parse("f", file(c.header, ""))
			if have := fmt.Sprint(err); err == nil && c.want != "" || !strings.Contains(have, c.want) || len(have) > 300 {
				t.Errorf("have %.300s, want %s", have, c.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%d bytes took %v", len(c.header), took)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	if err := Write(&b, sample, map[string]string{"format": "pt"}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(file(`{"a":{"dtype":"F32","shape":[4294967296,0],"data_offsets":[0,0]}}`, ""))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, meta, err := Parse("f", data)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, list, meta); err != nil {
			t.Fatalf("read and not written: %v", err)
		}
		again, _, err := Parse("f", out.Bytes())
		if err != nil || len(again) != len(list) {
			t.Fatalf("written and not read: %v", err)
		}
	})
}

// TestForget: what was forgotten is read again, and memory that is no file's is
// left alone.
func TestForget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.bin")
	want := bytes.Repeat([]byte("forget me not. "), 3000)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := MapBytes(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data := file.Data
	own := bytes.Clone(data)
	Forget(data[5000:20000])
	Forget(data)
	Forget(own)
	Forget(nil)
	if !bytes.Equal(data, want) || !bytes.Equal(own, want) {
		t.Error("bytes are lost")
	}
}
