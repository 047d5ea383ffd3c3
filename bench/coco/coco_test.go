package coco

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"parley/nets/pixels"
	"parley/weights/mini"
)

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func picture(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pixels.New(3, 2, color.RGBA{1, 2, 3, 255}).SavePNG(path); err != nil {
		t.Fatal(err)
	}
}

// list writes items as "id image domain: references".
func list(t testing.TB, s *Set) (out []string) {
	t.Helper()
	for it, err := range s.Items() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s: %s", it.ID, it.Image, it.Domain, strings.Join(it.References, "|"))))
	}
	return out
}

const karpathyFile = `{"images": [
 {"filepath": "val2014", "sentids": [1], "filename": "COCO_val2014_000000000007.jpg", "imgid": 0, "split": "test",
	"sentences": [{"tokens": ["a", "cat"], "raw": "A cat.", "imgid": 0, "sentid": 1},
{"tokens": ["two"]}], "cocoid": 7},
 {"filepath": "train2014", "filename": "COCO_train2014_000000000008.jpg", "imgid": 1, "split": "train", "sentences": [], "cocoid": 8},
 {"filepath": "val2014", "filename": "COCO_val2014_000000000009.jpg", "imgid": 2, "split": "test", "sentences": [], "cocoid": 9}
], "dataset": "coco"}`

const nocapsFile = `{"licenses": [], "info": {"a": {"b": [1]}}, "annotations": [{"id": 0, "image_id": 5, "caption": "A lamp"},
{"id": 1, "image_id": 4, "caption": "A fox"},
{"id": 2, "image_id": 5, "caption": "Lamp"}],
 "images": [{"id": 4, "file_name": "0013ea.jpg", "domain": "out-domain"},
{"id": 5, "file_name": "0032.jpg", "domain": "in-domain"},
{"id": 6, "file_name": "0033.jpg", "domain": "near-domain"}]}`

func TestFormats(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		file, text string
		o          Options
		want       []string
	}{
		{"test_gt.json", `{"annotations": [{"image_id": 391895, "caption": "A man. ", "id": 770337},
		{"image_id": 391895, "caption": "Man", "id": 2}], "images": [{"id": 391895},
		{"id": 60623}]}`, Options{},
			[]string{"391895 COCO_val2014_000000391895.jpg : A man. |Man", "60623 COCO_val2014_000000060623.jpg :"}},
		{"dataset_coco.json", karpathyFile, Options{}, []string{"7 COCO_val2014_000000000007.jpg : A cat.|two",
			"9 COCO_val2014_000000000009.jpg :"}},
		{"dataset_train.json", karpathyFile, Options{Split: "train"}, []string{"8 COCO_train2014_000000000008.jpg :"}},
		{"nocaps.json", nocapsFile, Options{}, []string{"4 0013ea.jpg out: A fox", "5 0032.jpg in: A lamp|Lamp", "6 0033.jpg near:"}},
		{"part.json", `{"images": [{"id": 1.0}, {"id": 2e3}], "annotations": [{"image_id": 3, "caption": "x"},
		{"image_id": "1", "caption": "A"}, {"image_id": 2000.0, "caption": "B"}, {"image_id": 4, "caption": "y"}]}`, Options{},
			[]string{"1 COCO_val2014_000000000001.jpg : A", "2000 COCO_val2014_000000002000.jpg : B"}},
		{"nocaps_in.json", nocapsFile, Options{Domain: "in"}, []string{"5 0032.jpg in: A lamp|Lamp"}},
		{"nocaps_val.json", `[{"image": "val/0013ea2087020901.jpg", "img_id": 0},
		{"image": "val/0032.jpg", "img_id": "b"}]`, Options{}, []string{"0 val/0013ea2087020901.jpg :", "b val/0032.jpg :"}},
		{"sd.jsonl",
			"{\"image\": \"a.jpg\", \"text\": \"A man\"}\n\n{\"image\": \"b.jpg\", \"texts\": [\"x\", " +
				"\"y\"]}\r\n{\"image\":\"b.jpg\",\"text\":\"z\"}",
			Options{}, []string{"a.jpg a.jpg : A man", "b.jpg b.jpg : x|y|z"}},
		{"ids.jsonl",
			"{\"id\": 7, \"caption\": \"A\"}\n{\"image_id\": \"7\", \"references\": [\"B\"]}\n{\"id\": 8, \"image\": \"x/y.jpg\"}",
			Options{}, []string{"7 COCO_val2014_000000000007.jpg : A|B", "8 x/y.jpg :"}},
		{"list.tsv", "\uFEFFa.jpg\tone\ttwo\na.jpg\tthree\nb.png\n", Options{}, []string{"a.jpg a.jpg : one|two|three", "b.png b.png :"}},
		{"header.tsv", "Image\tCaption_1\tcaption2\na\tone\n", Options{Limit: 1}, []string{"a a : one"}},
		{"one.tsv", "file_name\nimage.png\n", Options{}, []string{"image.png image.png :"}},
		{"none.tsv", "image.png\tcaption\n391895\timage\n", Options{}, []string{"image.png image.png : caption", "391895 391895 : image"}},
		{"limit.tsv", "a\nb\nc\nd\ne\n", Options{Limit: 2}, []string{"a a :", "b b :"}},
	} {
		s, err := Open(write(t, filepath.Join(dir, c.file), c.text), c.o)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		for range 2 { // twice the same
			if got := list(t, s); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.file, got, c.want)
			}
		}
		told := map[string]string{"header.tsv": `first line, "Image\tCaption_1\tcaption2", is taken for a header`, "one.tsv": "a header",
			"part.json": "part.json: annotation 1: image_id 3 is of no image: what is written of 2 such is left out"}[c.file]
		if !strings.Contains(s.Note, told) || told == "" && s.Note != "" {
			t.Errorf("%s: %q, want %q", c.file, s.Note, told)
		}
	}
}

// TestFolders: Karpathy's pictures lie in one folder, or in those of the years as his
// file says.
func TestFolders(t *testing.T) {
	for _, at := range []string{"COCO_val2014_000000000007.jpg", "val2014/COCO_val2014_000000000007.jpg"} {
		dir := t.TempDir()
		picture(t, filepath.Join(dir, at))
		s, err := Open(write(t, filepath.Join(dir, "dataset_coco.json"), karpathyFile), Options{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		for it, err := range s.Items() {
			if err != nil {
				t.Fatal(err)
			}
			if m, err := it.Picture(); err != nil || m.W != 3 {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		file, text string
		o          Options
		want       string
	}{
		{"none.json", "{}", Options{}, "no images"},
		{"cut.json", `{"images": [{"id": 1}`, Options{}, "cut.json: unexpected EOF"},
		{"word.json", `"x"`, Options{}, "want an object or an array"},
		{"empty.json", "", Options{}, "empty.json: unexpected EOF"},
		{"noid.json", `{"images": [{"id": 1}, {}]}`, Options{}, "image 2 has no id"},
		{"half.json", `{"images": [{"id": 1.5}]}`, Options{}, "image 1: 1.5 is no id"},
		{"twice.json", `{"images": [{"id": 1},
		{"id": 1}]}`, Options{}, "image 2: there are two of id 1"},
		{"type.json", `{"images": 3}`, Options{}, "want an array"},
		{"lost.json", `{"images": [{"id": 1}], "annotations": [{"image_id": 5, "caption": ""},
		{"image_id": 2, "caption": "x"},
		{"image_id": 3, "caption": "x"}]}`, Options{}, "lost.json: annotation 1: image_id 5 is of no image, nor is any other"},
		{"text.json", `{"images": [{"id": 1}], "annotations": [{"image_id": 1}]}`, Options{}, "annotation 1: want image_id and caption"},
		{"domain.json", `{"images": [{"id": 1, "domain": "far-domain"}]}`, Options{}, `image 1: domain "far-domain"`},
		{"nodomain.json", `{"images": [{"id": 1}]}`, Options{Domain: "in"}, "have no domains"},
		{"a.json", `{"images": [{"id": 1}]}`, Options{Domain: "far"}, "want in, near or out"},
		{"b.json", `{"images": [{"id": 1}]}`, Options{Split: "test"}, "only Karpathy's"},
		{"b.tsv", "a\tb\n", Options{Split: "test"}, "only Karpathy's"},
		{"c.json", karpathyFile, Options{Split: "dev"}, "want train"},
		{"d.json", `{"images": [{"id": 1}]}`, Options{Images: filepath.Join(dir, "nowhere")}, "nowhere"},
		{"e.tsv", "a\n", Options{Limit: -1}, "limit -1"},
		{"g.txt", "a", Options{}, "want mini"},
		{"o.tsv", "caption\timage\nA cat\ta.jpg\n", Options{}, `line 1: it names the columns "caption\timage": want the picture's file first`},
		{"p.tsv", "image\tsplit\tcaption\n", Options{}, "only texts behind it"},
		{"q.tsv", "index\tcaption\n", Options{}, "line 1: it names"},
	} {
		if s, err := Open(write(t, filepath.Join(dir, c.file), c.text), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q (%v)", c.file, err, c.want, s)
		}
	}
	for want, o := range map[string]Options{"only Karpathy's": {Split: "test"}, "has its pictures in it": {Images: dir}} {
		for _, name := range []string{Mini, t.TempDir()} {
			if s, err := Open(name, o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q (%v)", name, err, want, s)
			}
		}
	}
	for file, c := range map[string][2]string{
		"h.tsv": {"a\tx\nb\na\n", "h.tsv: line 3: a comes again"}, "i.jsonl": {"{\"image\": \"a\"}\n{\"text\": 1}", "i.jsonl: line 2"},
		"j.jsonl": {"{\"text\": \"x\"}", "line 1: want {\"image\", \"text\"}"},
		"r.jsonl": {"{\"image\": \"a\"}\n" + strings.Repeat("x", maxLine+1), "r.jsonl: line 2: longer than 16 MB"},
		"k.tsv":   {"a\xff\tx\n", "not UTF-8"}, "l.tsv": {"\tx\n", "line 1: no picture"}, "m.json": {strings.Replace(karpathyFile,
			`"raw": "A cat.",`, "", 1)[:300], "m.json: image 2: unexpected EOF"},
		"n.json": {`{"images": [{"cocoid": 1, "filename": "a", "split": "test"}, {"cocoid": 1, "filename": "b", "split": "val"},
		{"cocoid": "1", "filename": "b", "split": "test"}]}`, "n.json: image 3: there are two of id 1"},
	} {
		s, err := Open(write(t, filepath.Join(dir, file), c[0]), Options{})
		if err == nil {
			for _, e := range s.Items() {
				err = e
			}
		}
		if err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v, want %q", file, err, c[1])
		}
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	picture(t, filepath.Join(dir, "b.png"))
	picture(t, filepath.Join(dir, "a.PNG"))
	write(t, filepath.Join(dir, "b.txt"), "A box\n\nthe box\n")
	write(t, filepath.Join(dir, "note.md"), "x")
	write(t, filepath.Join(dir, "scan.tiff"), "x")
	write(t, filepath.Join(dir, "phone.heic"), "x") // is not read, and not passed over
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, s); !slices.Equal(got, []string{"a.PNG a.PNG :", "b.png b.png : A box|the box", "phone.heic phone.heic :",
		"scan.tiff scan.tiff :"}) {
		t.Errorf("%q", got)
	}
	write(t, filepath.Join(dir, "captions.json"), `{"images": [{"id": 3, "file_name": "b.png"}]}`)
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	for it, err := range s.Items() {
		if err != nil {
			t.Fatal(err)
		}
		if m, err := it.Picture(); err != nil || m.W != 3 || it.ID != "3" {
			t.Errorf("%v %v %v", it, m, err)
		}
	}
	empty, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range empty.Items() {
		if err == nil || !strings.Contains(err.Error(), "no pictures") {
			t.Errorf("an empty folder: %v", err)
		}
		return
	}
	t.Error("an empty folder has no items and no error")
}

// TestMini: the embedded world is the same set as its folder.
func TestMini(t *testing.T) {
	s, err := Open(Mini, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(filepath.Join("..", "..", "weights", "mini", "test"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	got, want := list(t, s), list(t, d)
	if len(got) != len(scenes) || !slices.Equal(got, want) {
		t.Errorf("%d items, the folder has %d, the world %d", len(got), len(want), len(scenes))
	}
	n := 0
	for it, err := range s.Items() {
		if err != nil {
			t.Fatal(err)
		}
		if m, err := it.Picture(); err != nil || m.W != 64 || !slices.Equal(it.References, scenes[n].Captions) {
			t.Fatalf("item %d: %v", n, err)
		}
		n++
	}
	if n != 200 {
		t.Errorf("%d pictures", n)
	}
}

// TestBroken: a missing and a broken picture say so, and are found where they lie.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	var lines strings.Builder
	for i := range 4 {
		name := fmt.Sprintf("%02d.png", i)
		fmt.Fprintf(&lines, "val/%s\ttext %d\n", name, i)
		switch i {
		case 1:
		case 2:
			write(t, filepath.Join(dir, "pictures", name), "not a picture")
		case 3:
			picture(t, filepath.Join(dir, "pictures", "val", name))
		default:
			picture(t, filepath.Join(dir, "pictures", name))
		}
	}
	s, err := Open(write(t, filepath.Join(dir, "list.tsv"), lines.String()), Options{Images: filepath.Join(dir, "pictures")})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for it, err := range s.Items() {
		if err != nil {
			t.Fatal(err)
		}
		m, err := it.Picture()
		switch n {
		case 1:
			if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "val/01.png") {
				t.Errorf("missing: %v", err)
			}
		case 2:
			if err == nil || errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "val/02.png") {
				t.Errorf("broken: %v", err)
			}
		default:
			if err != nil || m.W != 3 {
				t.Errorf("%s: %v", it.ID, err)
			}
		}
		n++
	}
}

// TestShards: the shards of 100 items are these, each once.
func TestShards(t *testing.T) {
	seen := map[int]int{}
	for i := range 7 {
		shard, err := ParseShard(fmt.Sprintf("%d/7", i+1))
		if err != nil {
			t.Fatal(err)
		}
		for at := range 100 {
			if shard.Has(at) {
				seen[at]++
			}
		}
	}
	if len(seen) != 100 || seen[99] != 1 || seen[0] != 1 {
		t.Errorf("%d items", len(seen))
	}
	for _, bad := range []string{"", "0/4", "5/4", "1", "a/b", "1/0", "-1/4"} {
		if _, err := ParseShard(bad); err == nil || !strings.Contains(err.Error(), "want i/n") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestFlat: a list is read as a stream.
func TestFlat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.tsv")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("word ", 200)
	for i := range 50_000 {
		fmt.Fprintf(f, "%06d.png\t%s\n", i, text)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	n, most := 0, uint64(0)
	for _, err := range s.Items() {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%10_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if n != 50_000 || most > 32<<20 {
		t.Errorf("%d items of a file of 50 MB, %d MB of heap", n, most>>20)
	}
}

func FuzzOpen(f *testing.F) {
	for _, s := range []string{karpathyFile, nocapsFile, `[{"image": "a", "img_id": 1}]`, `{"images": [{"id": "x"}]}`, "a\tb\n",
		`{"image": "a", "text": "b"}`} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, ext := range []string{".json", ".jsonl", ".tsv"} {
			s, err := Open(write(t, filepath.Join(dir, "x"+ext), string(data)), Options{})
			if err != nil {
				continue
			}
			seen := map[string]bool{}
			for it, err := range s.Items() {
				if err == nil && ext != ".json" && (it.ID == "" || seen[it.ID]) {
					t.Errorf("%s gives item %q twice or without id", ext, it.ID)
				}
				seen[it.ID] = true
			}
		}
	})
}
