package pickle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/weights/safetensors"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func byName(t *testing.T, name string, data []byte) map[string]safetensors.Tensor {
	t.Helper()
	list, err := Parse(name, data)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]safetensors.Tensor{}
	for _, e := range list {
		m[e.Name] = e
	}
	return m
}

func f32(e safetensors.Tensor) []float32 {
	var out []float32
	for i := 0; i+4 <= len(e.Data); i += 4 {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(e.Data[i:])))
	}
	return out
}

// The zip and the legacy file hold the same state dict (goldens.py of
// weights/convert).
func TestStateDict(t *testing.T) {
	for _, file := range []string{"zip.pt", "legacy.pt"} {
		t.Run(file, func(t *testing.T) {
			m := byName(t, file, read(t, file))
			want := map[string]string{
				"plain": "F32 [2 3 4]", "transposed": "F32 [6 4]", "row": "F32 [6]", "parameter": "F32 [1 2]",
				"half": "F16 [2]", "bfloat": "BF16 [2]", "double": "F64 [1]", "ids": "I64 [1 3]", "flag": "BOOL [2]",
				"scalar": "F32 []", "empty": "F32 [0 3]",
			}
			for name, w := range want {
				if have := fmt.Sprint(m[name].DType, " ", m[name].Shape); have != w {
					t.Errorf("%s: have %s, want %s", name, have, w)
				}
			}
			if len(m) != len(want) {
				t.Errorf("%d tensors, want %d", len(m), len(want))
			}
			values := map[string]string{
				"transposed": "[0 6 12 18 1 7 13 19 2 8 14 20 3 9 15 21 4 10 16 22 5 11 17 23]",
				"row":        "[12 13 14 15 16 17]", "parameter": "[1 -2]", "scalar": "[7]",
			}
			for name, w := range values {
				if have := fmt.Sprint(f32(m[name])); have != w {
					t.Errorf("%s: have %s, want %s", name, have, w)
				}
			}
			if h := m["half"].Data; !bytes.Equal(h, []byte{0, 0x3e, 0, 0xb4}) {
				t.Errorf("half: % x", h)
			}
			if m["row"].File != file {
				t.Errorf("file %q", m["row"].File)
			}
		})
	}
}

func TestWrappers(t *testing.T) {
	for file, want := range map[string]string{
		"lightning.ckpt": "model.w", "model.pth": "w", "script.pt": "proj.weight",
	} {
		m := byName(t, file, read(t, file))
		if _, ok := m[want]; !ok {
			t.Errorf("%s: no %s in %v", file, want, m)
		}
	}
	m := byName(t, "script.pt", read(t, "script.pt"))
	if len(m) != 5 || fmt.Sprint(f32(m["scale"])) != "[4]" || !m["blocks.0.weight"].Shape.Equal([]int{2, 3}) {
		t.Errorf("script.pt: %v", m)
	}
}

// TestFloat8: torch keeps tensors of eight bits in storages of bytes, and says
// their type beside (torch.save of 2.15).
func TestFloat8(t *testing.T) {
	typed := func(dtype string) []byte {
		return archive(t, zip.Store, "a/data.pkl",
			"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v3\n((X\x07\x00\x00\x00storage"+
				"ctorch.storage\nUntypedStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x02K\x02\x86K\x01K\x02\x86\x89"+
				"ccollections\nOrderedDict\n)Rctorch\n"+dtype+"\ntRs.", "a/data/0", "\x01\x02\x03\x04")
	}
	for torch, want := range map[string]string{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"} {
		w := byName(t, "f.pt", typed(torch))["w"]
		if w.DType != want || string(w.Data) != "\x01\x03\x02\x04" || fmt.Sprint(w.Shape) != "[2 2]" {
			t.Errorf("%s: have %s %v %q", torch, w.DType, w.Shape, w.Data)
		}
	}
	if _, err := Parse("f.pt", typed("float4_e2m1fn_x2")); err == nil || !strings.Contains(err.Error(),
		"a tensor of torch.float4_e2m1fn_x2, which is not read") {
		t.Errorf("have %v", err)
	}
	if _, err := Parse("f.pt", typed("uint32")); err == nil || !strings.Contains(err.Error(), "reaches over its storage of 1 elements") {
		t.Errorf("have %v", err)
	}
}

// TestViewOfAView: a transposed part in the middle of a storage is read from where it
// begins, in its own order, and one step further is too far.
func TestViewOfAView(t *testing.T) {
	view := func(offset string) []byte {
		return archive(t, zip.Store, "a/data.pkl",
			"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"+
				"ctorch\nByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x08tQK"+offset+"K\x02K\x03\x86K\x01K\x02\x86\x89"+
				"ccollections\nOrderedDict\n)RtRs.", "a/data/0", "\x00\x01\x02\x03\x04\x05\x06\x07")
	}
	for offset, want := range map[string]string{"\x00": "\x00\x02\x04\x01\x03\x05", "\x02": "\x02\x04\x06\x03\x05\x07"} {
		w := byName(t, "f.pt", view(offset))["w"]
		if w.DType != "U8" || fmt.Sprint(w.Shape) != "[2 3]" || string(w.Data) != want {
			t.Errorf("at %q: have %s %v %q, want %q", offset, w.DType, w.Shape, w.Data, want)
		}
	}
	// As torch before 1.6 keeps it: elements 2 to 6 of a storage, of which the tensor
	// has the second and the third.
	old := archive(t, zip.Store, "a/data.pkl",
		"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"+
			"ctorch\nByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x08(X\x01\x00\x00\x00vK\x02K\x05ttQK\x01K\x02\x85K\x01\x85\x89"+
			"ccollections\nOrderedDict\n)RtRs.", "a/data/0", "\x00\x01\x02\x03\x04\x05\x06\x07")
	if w := byName(t, "f.pt", old)["w"]; string(w.Data) != "\x03\x04" {
		t.Errorf("of a view of the storage: %q", w.Data)
	}
	beyond := bytes.Replace(old, []byte("K\x02K\x05ttQ"), []byte("K\x04K\x05ttQ"), 1)
	if _, err := Parse("f.pt", beyond); err == nil || !strings.Contains(err.Error(), "storage 0: a view outside of it") {
		t.Errorf("elements 4 to 8 of 8: %v", err)
	}
	if _, err := Parse("f.pt", view("\x03")); err == nil || !strings.Contains(err.Error(), "reaches over its storage of 8 elements") {
		t.Errorf("have %v", err)
	}
}

// TestSameKeys: of a dictionary's equal keys the last one counts, as in Python.
func TestSameKeys(t *testing.T) {
	step := func(n byte) string { return "X\x0b\x00\x00\x00global_stepK" + string(rune(n)) + "s" }
	one := strings.TrimSuffix(strings.TrimPrefix(aTensor(1, 0, "K\x01\x85", "K\x01\x85"), "\x80\x02}"), ".")
	two := strings.Replace(one, "IntStorage", "", 1)
	two = strings.Replace(two, "I0\nK\x01\x85", "I0\nK\x00\x85", 1) // of no element
	c, err := Read("f.pt", archive(t, zip.Store, "a/data.pkl", "\x80\x02}"+step(1)+two+one+step(2)+".", "a/data/0", "1234"))
	if err != nil || c.Step != 2 || len(c.Tensors) != 1 || string(c.Tensors[0].Data) != "1234" {
		t.Errorf("%v: step %d, %v", err, c.Step, c.Tensors)
	}
}

func TestForbidden(t *testing.T) {
	_, err := Parse("evil.pt", read(t, "evil.pt"))
	var f *ForbiddenError
	if !errors.As(err, &f) || !strings.HasSuffix(f.Global, ".system") {
		t.Fatalf("have %v, want a ForbiddenError of system", err)
	}
	for _, g := range []string{"builtins eval", "builtins getattr", "__builtin__ exec", "subprocess Popen", "torchx run", "os system"} {
		module, name, _ := strings.Cut(g, " ")
		if allowed(module, name) == nil {
			t.Errorf("%s is allowed", g)
		}
	}
}

// archive makes a zip as torch does, of a pickle and storages.
func archive(t testing.TB, method uint16, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: files[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// aTensor is the pickle of {"w": a tensor}, in the text of protocol 0 and 2.
func aTensor(elems, offset int, size, stride string) string {
	return fmt.Sprintf("\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"+
		"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuI%d\ntQI%d\n%s%s\x89ctorch\nSize\n)RtRs.", elems, offset, size, stride)
}

func TestLyingFiles(t *testing.T) {
	zipped := func(pkl, store string) []byte {
		return archive(t, zip.Store, "a/data.pkl", pkl, "a/data/0", store)
	}
	four := strings.Repeat("\x00\x00\x80\x3f", 4)
	if _, err := Parse("ok", zipped(aTensor(4, 0, "K\x02K\x02\x86", "K\x02K\x01\x86"), four)); err != nil {
		t.Fatal(err)
	}
	legacy := read(t, "legacy.pt")
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "neither a zip file nor a pickle"},
		{"lfs", []byte("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"},
		{"cut zip", read(t, "zip.pt")[:200], "zip: not a valid zip file (a truncated file?)"},
		{"other zip", archive(t, zip.Store, "word/document.xml", ""), "0 files data.pkl, want 1"},
		{"no storage", archive(t, zip.Store, "a/data.pkl", aTensor(4, 0, "K\x04\x85", "K\x01\x85")), "zip: no file a/data/0"},
		{"big endian", archive(t, zip.Store, "a/byteorder", "big", "a/data.pkl", "N."), `byte order "big"`},
		{"compressed", archive(t, zip.Deflate, "a/data.pkl", "N."), "a/data.pkl is compressed"},
		{"compressed to its own size", bytes.Replace(zipped("N.", ""), []byte("PK\x01\x02\x14\x00\x14\x00\x08\x00\x00\x00"),
			[]byte("PK\x01\x02\x14\x00\x14\x00\x08\x00\x63\x00"), 1), "a/data.pkl is compressed"},
		{"short storage", zipped(aTensor(5, 0, "K\x04\x85", "K\x01\x85"), four), "storage 0: 5 elements of F32, the file has 16 bytes"},
		{"over the end", zipped(aTensor(4, 1, "K\x04\x85", "K\x01\x85"), four),
			"a tensor of [4] with strides [1] at 1 reaches over its storage of 4 elements"},
		{"wild stride", zipped(aTensor(4, 0, "K\x02\x85", "L9223372036854775807L\n\x85"), four), "reaches over its storage"},
		{"wild size", zipped(aTensor(4, 0, "L4611686018427387904L\nL4611686018427387904L\n\x86", "K\x00K\x00\x86"), four),
			"reaches over its storage"},
		{"repeats", zipped(aTensor(4, 0, "M\xff\xff\x85", "K\x00\x85"), four), "repeats its storage of 4 elements"},
		{"negative size", zipped(aTensor(4, 0, "I-1\n\x85", "K\x01\x85"), four), "a wrong size or stride"},
		{"negative offset", zipped(aTensor(4, -1, "K\x01\x85", "K\x01\x85"), four), "a tensor at offset -1"},
		{"negative storage", zipped(aTensor(-4, 0, "K\x01\x85", "K\x01\x85"), four), "storage 0: -4 elements"},
		{"two sizes", zipped(aTensor(4, 0, "K\x02\x85", "K\x01K\x01\x86"), four), "a wrong size or stride"},
		{"no tensors", zipped("}.", ""), "no dictionary of tensors"},
		{"ends early", zipped("}X\xff\xff\xff\xff", ""), "data.pkl: the pickle ends early"},
		{"opcode", zipped("\xff", ""), "at byte 0: opcode 0xff is not one that torch writes"},
		{"protocol", zipped("\x80\x06", ""), "pickle protocol 6"}, {"the latest protocol", zipped("\x80\x05}.", ""), "no dictionary of tensors"},
		{"empty stack", zipped("0", ""), "the stack is empty"},
		{"no mark", zipped("u", ""), "no mark on the stack"},
		{"odd items", zipped("}(Nu.", ""), "a key without a value"},
		{"memo", zipped("h\x05.", ""), "nothing was memoised as 5"},
		{"call of a value", zipped("K\x01)R.", ""), "a call of a value"},
		{"sparse", zipped("ctorch._utils\n_rebuild_sparse_tensor\n)R.", ""),
			"torch._utils._rebuild_sparse_tensor: this kind of tensor is not read"},
		{"quantised", zipped("(X\x07\x00\x00\x00storagectorch\nQInt8Storage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.", ""),
			"a storage of torch.QInt8Storage"},
		{"other pickle", []byte("\x80\x02}."), "no magic number"},
		{"cut legacy", legacy[:len(legacy)-3], "the file ends early"},
		{"version", append(append([]byte("\x80\x02\x8a\x0a"+legacyMagic+"."), "K\x01."...), "N.N.N."...), "version 1, want 1001"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f.pt", c.data)
			if err == nil || !strings.HasPrefix(err.Error(), "f.pt: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("have %v\nwant f.pt: ... %s", err, c.want)
			}
		})
	}
}

// Many transposed views of one storage would copy far more than the file has.
func TestCopiesAreBounded(t *testing.T) {
	elems := 64 * 64
	var p bytes.Buffer
	p.WriteString("\x80\x02}(")
	// The storage and the size are memoised, so that a tensor costs few bytes.
	fmt.Fprintf(&p, "X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storage"+
		"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuI%d\ntQq\x01K\x00K@K@\x86q\x02K\x01K@\x86q\x03\x89NtR", elems)
	for i := 0; i < 50; i++ {
		fmt.Fprintf(&p, "X\x02\x00\x00\x00%02dh\x00(h\x01K\x00h\x02h\x03\x89NtR", i)
	}
	p.WriteString("u.")
	_, err := Parse("f.pt", archive(t, zip.Store, "a/data.pkl", p.String(), "a/data/0", strings.Repeat("\x00", 4*elems)))
	if err == nil || !strings.Contains(err.Error(), "copy more than the file holds") {
		t.Fatalf("have %v", err)
	}
}

// TestUnitStrides: the stride of a dimension of one element means nothing, and torch
// keeps odd ones; such a tensor is no copy.
func TestUnitStrides(t *testing.T) {
	const n = 1000
	var p bytes.Buffer
	p.WriteString("\x80\x02}(")
	for i := range 9 {
		fmt.Fprintf(&p, "X\x01\x00\x00\x00%dctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"+
			"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuI%d\ntQK\x00K\x01I%d\n\x86K\x07K\x01\x86\x89NtR", i, n, n)
	}
	p.WriteString("u.")
	data := archive(t, zip.Store, "a/data.pkl", p.String(), "a/data/0", strings.Repeat("\x00", 4*n))
	for _, e := range byName(t, "f.pt", data) {
		if !e.Shape.Equal([]int{1, n}) || len(e.Data) != 4*n {
			t.Errorf("%v, %d bytes", e.Shape, len(e.Data))
		}
	}
}

// TestWorkGrowsWithTheFile: what stands in a pickle once and is used again and
// again costs no more than the pickle has bytes.
func TestWorkGrowsWithTheFile(t *testing.T) {
	const n = 200_000
	var p bytes.Buffer
	// A list of n pairs, of which n dictionaries are made.
	p.WriteString("\x80\x02NN\x86q\x000]q\x01(" + strings.Repeat("h\x00",
		n) + "e0ccollections\nOrderedDict\nq\x030h\x01\x85q\x020" + strings.Repeat("h\x03h\x02R0", n) + "}.")
	chain := p.String()
	long := fmt.Sprintf("X%s%s", binary.LittleEndian.AppendUint32(nil, 1<<20), strings.Repeat("x", 1<<20))
	// A dictionary that is its own wrapper by every name, with many keys.
	p.Reset()
	p.WriteString("\x80\x02}q\x00(")
	for _, w := range wrappers {
		fmt.Fprintf(&p, "U%c%sh\x00", len(w), w)
	}
	p.WriteString(strings.Repeat("NN", n) + "u.")
	for _, c := range []struct{ name, pickle, want string }{
		{"dictionaries", chain, "dictionaries of more pairs than the pickle has bytes"},
		{"classes", "\x80\x02" + long + "q\x000" + strings.Repeat("h\x00h\x00\x93)R0", n) + "}.",
			"a class whose name has more than 4096 bytes"},
		{"wrappers", p.String(), "no dictionary of tensors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			_, err := Parse("f.pt", archive(t, zip.Store, "a/data.pkl", c.pickle))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("have %v, want %s", err, c.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%d bytes took %v", len(c.pickle), took)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"zip.pt", "legacy.pt", "lightning.ckpt", "script.pt", "evil.pt"} {
		f.Add(read(f, name))
	}
	f.Add(archive(f, zip.Store, "a/data.pkl", aTensor(4, 0, "K\x02K\x02\x86", "K\x02K\x01\x86"), "a/data/0", strings.Repeat("\x00", 16)))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := Parse("f", data)
		if err != nil {
			return
		}
		for _, e := range list {
			if n, ok := safetensors.Size(e.DType, e.Shape); !ok || n != len(e.Data) {
				t.Fatalf("%s: %s %v with %d bytes", e.Name, e.DType, e.Shape, len(e.Data))
			}
		}
	})
}

// FuzzMachine reaches the machine without a valid archive around it.
func FuzzMachine(f *testing.F) {
	f.Add([]byte(aTensor(4, 0, "K\x02K\x02\x86", "K\x02K\x01\x86")))
	f.Add([]byte("\x80\x02}(X\x01\x00\x00\x00aK\x01u."))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &machine{data: data, persistent: storages{}.load, reduce: newReducer(len(data)).reduce}
		v, err := m.run()
		if err == nil {
			unwrap(v, 4, map[*dict]bool{})
		}
	})
}
