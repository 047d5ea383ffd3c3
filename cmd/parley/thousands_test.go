package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/engine"
	"parley/weights"
	"parley/weights/safetensors"
)

// words is how many CLIP's tokenizer has.
const words = 49408

// worded writes a tiny text encoder with as many words as the tokenizer gives, to
// which its own are repeated.
func worded(t *testing.T, from, to string) {
	t.Helper()
	set, err := weights.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	list := set.Entries()
	for i, e := range list {
		if !strings.HasSuffix(e.Name, "token_embedding.weight") {
			continue
		}
		v, err := weights.F32(e)
		if err != nil {
			t.Fatal(err)
		}
		width := e.Shape[1]
		all := slices.Repeat(v, words/e.Shape[0]+1)[:words*width]
		list[i].DType, list[i].Shape, list[i].Data = "F32", []int{words, width}, engine.FromF32(all, words, width).Memory().Host
	}
	if err := safetensors.WriteFile(to, list); err != nil {
		t.Fatal(err)
	}
}

// edit replaces a part of a text file.
func edit(t *testing.T, path, old, now string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil && !bytes.Contains(data, []byte(old)) {
		err = fmt.Errorf("no %s in %s", old, path)
	}
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(now), 1), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tinyModels writes the tiny checkpoints of weights/convert and nets/models so that
// each can be given any text: models whose work is little beside the program's.
func tinyModels(t *testing.T) string {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.CopyFS(at("sd"), os.DirFS("../../nets/models/testdata/sd")); err != nil {
		t.Fatal(err)
	}
	worded(t, "../../nets/models/testdata/sd/text_encoder/model.safetensors", at("sd/text_encoder/model.safetensors"))
	edit(t, at("sd/text_encoder/config.json"), `"vocab_size": 60`, fmt.Sprintf(`"vocab_size": %d`, words))
	worded(t, "../../weights/convert/testdata/openai_clip.pt", at("openai.safetensors"))
	for _, args := range [][]string{{at("openai.safetensors"), at("clip")},
		{"../../weights/convert/testdata/salesforce_blip.pth", at("blip")}} {
		if code, _, errs := call(t, append([]string{"convert"}, args...)...); code != 0 {
			t.Fatal(errs)
		}
	}
	edit(t, at("blip/config.json"), `"sep_token_id": 102`, `"sep_token_id": 3`)
	vocabulary := "[PAD] [UNK] [CLS] [SEP] [MASK] a picture of cat dog on the grass two red in blue sea [DEC] [ENC]"
	if err := os.WriteFile(at("blip/vocab.txt"), []byte(strings.ReplaceAll(vocabulary, " ", "\n")), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// counter counts lines, and holds that they come in the order of their numbers.
type counter struct {
	t    *testing.T
	line []byte
	n    int
	of   func(n int) string // what line n has
	last int
	heap uint64 // that is alive at the last line
}

func (c *counter) Write(p []byte) (int, error) {
	c.line = append(c.line, p...)
	for {
		line, rest, ok := bytes.Cut(c.line, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		if want := c.of(c.n); !strings.Contains(string(line), want) {
			c.t.Fatalf("line %d is %.200s, want %s in it", c.n, line, want)
		}
		if c.n, c.line = c.n+1, slices.Clone(rest); c.n == c.last {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			c.heap = m.HeapAlloc
		}
	}
}

// TestThousandsOfEach: every command that takes many does four times the work in
// about four times the time, in memory and with open files that do not grow, in
// order.
func TestThousandsOfEach(t *testing.T) {
	dir := t.TempDir()
	scene, err := os.ReadFile("../../nets/pixels/testdata/one.png")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, n int, line func(i int) string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintln(&b, line(i))
		}
		path := filepath.Join(dir, fmt.Sprint(name, n))
		if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	picture := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%05d.png", i)) }
	for i := range 4000 {
		if i == 0 {
			err = os.WriteFile(picture(i), scene, 0o666)
		} else if err = os.Link(picture(0), picture(i)); err != nil {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	models := " --models " + tinyModels(t)
	text := func(i int) string { return fmt.Sprintf("cat %05d", i) }
	small := " --steps 1 --guidance 1 --width 16 --height 16 --jsonl --out {O}" + models
	for name, c := range map[string]struct {
		args string // {P} is a list of pictures, {T} one of texts, {O} a folder
		line func(i int) string
		few  int // the other count is four times as many
	}{
		"embed":             {"embed --jsonl @{P}" + models, picture, 1000},
		"score":             {"score --jsonl @{P} --text cat" + models, picture, 1000},
		"caption":           {"caption --jsonl --beam 1 --max-length 6 @{P}" + models, picture, 1000},
		"tokenize":          {"tokenize --clip --jsonl", text, 1000},
		"draw":              {"draw --from-file {T}" + small, text, 250},
		"reconstruct image": {"reconstruct image -k 1 --max-length 6 @{P}" + small, picture, 25},
		"reconstruct text":  {"reconstruct text -k 1 --max-length 6 --from-file {T}" + small, text, 25},
	} {
		// The heap is what is alive at the last line; files are those open behind it.
		one := func(n int) (took time.Duration, heap uint64, files int) {
			pictures, texts := file("pictures", n, picture), file("texts", n, text)
			in, err := os.Open(texts)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			args := strings.NewReplacer("{P}", pictures, "{T}", texts, "{O}", t.TempDir()).Replace(c.args)
			out := &counter{t: t, of: c.line, last: n}
			var errs bytes.Buffer
			start := time.Now()
			if code := runOn(context.Background(), strings.Fields(args), in, out, &errs); code != 0 {
				t.Fatalf("%s: %.500s", args, errs.String())
			}
			took = time.Since(start)
			if out.n != n {
				t.Fatalf("%s: %d lines, want %d", name, out.n, n)
			}
			list, _ := os.ReadDir("/proc/self/fd") // none where there is no /proc
			return took, out.heap, len(list)
		}
		one(c.few / 10) // what is made once
		a, heapA, filesA := one(c.few)
		b, heapB, filesB := one(4 * c.few)
		t.Logf("%s: %d: %v, %d KB, %d files; 4 times as many: %v, %d KB, %d files", name, c.few, a, heapA>>10, filesA, b, heapB>>10, filesB)
		for try := 0; b > 4*a*5/2 && try < 3; try++ { // others use the machine, too
			a, _, _ = one(c.few)
			b, _, _ = one(4 * c.few)
		}
		if b > 4*a*5/2 {
			t.Errorf("%s: %d take %v, %d take %v", name, 4*c.few, b, c.few, a)
		}
		if heapB > heapA+1<<20 {
			t.Errorf("%s: %d KB at the end of %d, %d KB at the end of %d", name, heapB>>10, 4*c.few, heapA>>10, c.few)
		}
		if filesB > filesA+2 {
			t.Errorf("%s: %d open files behind %d, %d behind %d", name, filesB, 4*c.few, filesA, c.few)
		}
	}
}
