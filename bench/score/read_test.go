package score

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func file(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const annotations = `{"images": [{"id": 1},
{"id": 2},
{"id": 3},
{"id": 4}], "annotations": [{"image_id": 1, "caption": "A cat"},
{"image_id": 2, "caption": "A dog"},
{"image_id": 1, "caption": "Cat"},
{"image_id": 3, "caption": "An owl"}]}`

func TestRead(t *testing.T) {
	dir := t.TempDir()
	refs := file(t, dir, "refs.json", annotations)
	for name, text := range map[string]string{
		"a.json":  `[{"image_id": 2, "caption": "dog"}, {"image_id": 1, "caption": ""}]`,
		"b.jsonl": "{\"image_id\": \"2\", \"text\": \"dog\"}\n{\"id\": 1, \"caption\": \"\"}\n",
	} {
		items, left, err := Read(file(t, dir, name, text), []string{refs})
		if err != nil || left != 2 || len(items) != 2 || items[0].ID != "2" || items[0].Caption != "dog" ||
			!slices.Equal(items[1].References, []string{"A cat", "Cat"}) {
			t.Errorf("%s: %v, %d left, %v", name, items, left, err)
		}
	}
	items, left, err := Read(file(t, dir, "h.txt", "\uFEFFa cat\r\n\nthe end"), []string{file(t, dir, "r1.txt", "x\ny\nz\n"), file(t,
		dir, "r2.txt", "u\nv\n\n")})
	if err != nil || left != 0 || len(items) != 3 || items[0].Caption != "a cat" || items[1].Caption != "" ||
		!slices.Equal(items[2].References, []string{"z", ""}) {
		t.Errorf("lines: %q, %v", items, err)
	}
	for _, c := range []struct{ name, text, refs, want string }{
		{"c.json", `[{"image_id": 9, "caption": "x"}]`, refs, "c.json: entry 1: image 9 is not in " + refs},
		{"d.json", `[{"image_id": 4, "caption": "x"}]`, refs, "image 4 has no references"},
		{"e.json", `[{"image_id": 1, "caption": "x"},
		{"image_id": 1, "caption": "x"}]`, refs, "e.json: entry 2: image 1 has a caption already"},
		{"f.json", `[{"image_id": 1}]`, refs, "want image_id and caption"},
		{"g.json", `{}`, refs, "want a list"},
		{"h.json", `[{"image_id": 1, "caption": "x"}`, refs, "cut off after entry 1"},
		{"i.json", `[]`, refs, "no captions"},
		{"j.json", `[{"image_id": 1.5, "caption": "x"}]`, refs, "1.5 is no id"},
		{"k.json", `[]`, filepath.Join(dir, "r1.txt"), "want one .json"},
		{"l.txt", "a\nb", filepath.Join(dir, "r1.txt"), "r1.txt has 3 lines"},
		{"m.txt", "a", refs, "have to be lines as well"},
		{"n.txt", "", refs, "no captions"},
		{"o.txt", "a\nb\n\xff\xfec", filepath.Join(dir, "r1.txt"), "o.txt: line 3: not UTF-8"},
		{"o.jsonl", "{\"image_id\": 1, \"caption\": \"x\"}\nx", refs, "entry 2"},
		{"p.json", `[{"image_id": 1, "caption": "x"}]`, filepath.Join(dir, "none.json"), "none.json"},
	} {
		if items, _, err := Read(file(t, dir, c.name, c.text), []string{c.refs}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q (%v)", c.name, err, c.want, items)
		}
	}
	if _, _, err := Read(filepath.Join(dir, "nowhere.txt"), []string{refs}); err == nil || !strings.Contains(err.Error(), "nowhere.txt") {
		t.Errorf("%v", err)
	}
	if _, _, err := Read(refs, nil); err == nil {
		t.Error("no references")
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{`[{"image_id": 1, "caption": "x"}]`, "{\"id\": 1, \"text\": \"x\"}\n", "a\nb\n", "[", "\uFEFF"} {
		f.Add(s)
	}
	dir := f.TempDir()
	refs := file(f, dir, "refs.json", annotations)
	f.Fuzz(func(t *testing.T, s string) {
		for _, ext := range []string{".json", ".jsonl", ".txt"} {
			path := file(t, dir, "x"+ext, s)
			r := refs
			if ext == ".txt" {
				r = path
			}
			items, _, err := Read(path, []string{r})
			if err == nil && len(items) == 0 {
				t.Errorf("%s gives nothing and no error", ext)
			}
			for _, it := range items {
				if len(it.References) == 0 {
					t.Errorf("%s: %v", ext, it)
				}
			}
		}
	})
}
