package main

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/storage"
	"parley/nets/inception"
	"parley/weights"
	"parley/weights/mini"
	"parley/weights/safetensors"
)

// wanted keeps the names and the shapes that a net asks for.
type wanted map[string]engine.Shape

// Has implements weights.Maker.
func (w wanted) Has(name string) bool { return !strings.HasPrefix(name, "fc.") }

// Make implements weights.Maker.
func (w wanted) Make(name string, shape engine.Shape) storage.Source {
	w[name] = shape
	return storage.Values(make([]float32, shape.Elems()))
}

// randomInception writes a file of random weights.
func randomInception(t *testing.T, path string) {
	t.Helper()
	w := wanted{}
	if _, err := inception.New(weights.Made(w).Loader(host.New(1))); err != nil {
		t.Fatal(err)
	}
	var list []safetensors.Tensor
	z := uint32(1)
	for name, shape := range w {
		e := safetensors.Tensor{Name: name, Shape: shape, DType: "BF16"}
		scale, middle := 0.2, 0.0
		switch {
		case strings.HasSuffix(name, "conv.weight"):
			scale = 2.4 / math.Sqrt(float64(shape.Elems()/shape[0]))
		case strings.HasSuffix(name, "running_var"), strings.HasSuffix(name, "bn.weight"):
			middle = 1
		}
		e.Data = make([]byte, 2*shape.Elems())
		for i := range shape.Elems() {
			z = z*1664525 + 1013904223
			v := math.Float32bits(float32(middle + scale*(float64(z)/(1<<31)-1)))
			binary.LittleEndian.PutUint16(e.Data[2*i:], uint16(v>>16))
		}
		list = append(list, e)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := safetensors.Write(f, list, nil); err != nil {
		t.Fatal(err)
	}
}

// TestFID: a set is next to none from itself, and far from another; a broken
// picture is told and stops nothing. It holds the command's flags.
func TestFID(t *testing.T) {
	dir := t.TempDir()
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a/0.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/sub/5.png", "c/0.png", "c/1.png", "c/2.png",
		"c/x.png"} {
		data := scenes[i%6].PNG
		if name == "c/x.png" {
			data = []byte("no picture")
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c, net := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c"), filepath.Join(dir, "net.safetensors")
	randomInception(t, net)
	distance := func(want int, args ...string) (float64, [2]int) {
		t.Helper()
		code, out, errs := call(t, append([]string{"fid", "--json", "--inception", net}, args...)...)
		if code != want || want == 1 && !strings.Contains(errs, "x.png") {
			t.Fatalf("%v: code %d, %s", args, code, errs)
		}
		v := decode[struct {
			FID      float64
			Pictures [2]int
			Notes    []string
		}](t, out)
		if len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "not of full rank") {
			t.Errorf("notes %q", v.Notes)
		}
		return v.FID, v.Pictures
	}
	far, n := distance(0, a, b, "--recursive")
	if !(far > 0.01) || n != [2]int{3, 3} {
		t.Errorf("of others: %v of %v", far, n)
	}
	if flat, n := distance(0, a, b); n != [2]int{3, 2} || flat == far {
		t.Errorf("without a subfolder: %v of %v", flat, n)
	}
	if same, n := distance(1, a, c); !(math.Abs(same) < 1e-4*far) || n != [2]int{3, 3} {
		t.Errorf("of the same: %v of %v, of others %v", same, n, far)
	}
	for args, want := range map[string]string{a + " " + b: "--inception", a: `want "parley fid PICTURES PICTURES`} {
		if code, _, errs := call(t, append([]string{"fid"}, strings.Fields(args)...)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("fid %s: %d %s", args, code, errs)
		}
	}
	// A picture in another colour space, with and without its profile obeyed.
	wide := filepath.Join("..", "..", "nets", "pixels", "testdata", "files", "wide.png")
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, []byte(wide+"\n"+filepath.Join(a, "0.png")+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	plain, _ := distance(0, a, "@"+list)
	if obeyed, _ := distance(0, a, "@"+list, "--icc"); obeyed == plain {
		t.Errorf("--icc changes nothing of %v", plain)
	}
	if code, _, errs := call(t, "fid", "--inception", net, a, b, "--max-pixels", "100"); code != 1 ||
		!strings.Contains(errs, "at most 100 are read; --max-pixels") {
		t.Errorf("--max-pixels: %d %s", code, errs)
	}
	in := filepath.Join(dir, "in.safetensors")
	picture := safetensors.Tensor{Name: "pixel_values", DType: "F32", Shape: []int{1, 3, 80, 75}, Data: make([]byte, 4*3*80*75)}
	if err := os.WriteFile(in, tensorFile(t, picture), 0o666); err != nil {
		t.Fatal(err)
	}
	code, out, errs := call(t, "forward", "inception", "--model", net, "--in", in)
	if code != 0 || !strings.Contains(out, "features [1 2048]") {
		t.Errorf("forward inception: %d %s%s", code, out, errs)
	}
	sbert := "../../nets/testdata/sbert"
	for args, want := range map[string]string{
		a + " " + filepath.Join(dir, "none") + " --inception " + net: "none",
		filepath.Join(b, "sub") + " " + a + " --inception " + net:    "1 and 3 vectors: two at least",
		a + " " + b + " --inception " + sbert:                        "no inception in it; it holds [bert]",
	} {
		if code, _, errs := call(t, append([]string{"fid"}, strings.Fields(args)...)...); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("fid %s: %d %s", args, code, errs)
		}
	}
}

// TestForwardJudges: the nets that judge take and give what forward's help says.
func TestForwardJudges(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.safetensors")
	pictures := safetensors.Tensor{Name: "pixel_values", DType: "F32", Shape: []int{2, 3, 24, 32}, Data: make([]byte, 4*2*3*24*32)}
	ids := i64("input_ids", []int{2, 5}, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	if err := os.WriteFile(in, tensorFile(t, ids, pictures), 0o666); err != nil {
		t.Fatal(err)
	}
	for net, c := range map[string]struct{ model, want string }{"bert": {"bert_small", "last_hidden_state [2 5 48]"},
		"vit": {"vit_small", "last_hidden_state [2 13 40]"}} {
		code, out, errs := call(t, "forward", net, "--model", "../../nets/testdata/"+c.model, "--in", in)
		if code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d %s%s, want %s", net, code, out, errs, c.want)
		}
	}
}
