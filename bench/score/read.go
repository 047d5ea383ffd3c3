package score

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/bench/coco"
)

// Read reads captions and the references to hold them against, in the captions'
// order, and how many images of the references have no caption.
//
// Captions are COCO's results ([{"image_id", "caption"}], .json), a line each of
// the same (.jsonl; id, image and text are taken as well), or plain lines (any
// other name). References are plain lines in as many files as there are for a
// caption, or one file that coco.Open reads: COCO's annotations, Karpathy's,
// NoCaps', lists.
func Read(captions string, references []string) (items []Item, left int, err error) {
	if len(references) == 0 {
		return nil, 0, errors.New("no references")
	}
	if !structured(captions) {
		items, err = readLines(captions, references)
		return items, 0, err
	}
	if len(references) > 1 || !structured(references[0]) && filepath.Ext(references[0]) != ".tsv" {
		return nil, 0, fmt.Errorf("%s: references to %s have to name the images: want one .json, .jsonl or .tsv", references[0], captions)
	}
	refs := map[string][]string{}
	set, err := coco.Open(references[0], coco.Options{})
	if err != nil {
		return nil, 0, err
	}
	for it, err := range set.Items() {
		if err != nil {
			return nil, 0, err
		}
		refs[it.ID] = it.References
	}
	seen := map[string]bool{}
	err = readResults(captions, func(id, caption string) error {
		switch r, ok := refs[id]; {
		case seen[id]:
			return fmt.Errorf("image %s has a caption already", id)
		case !ok:
			return fmt.Errorf("image %s is not in %s", id, references[0])
		case len(r) == 0:
			return fmt.Errorf("image %s has no references in %s", id, references[0])
		default:
			seen[id] = true
			items = append(items, Item{id, caption, r})
		}
		return nil
	})
	if err == nil && len(items) == 0 {
		err = fmt.Errorf("%s: no captions", captions)
	}
	return items, len(refs) - len(items), err
}

func structured(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".json" || ext == ".jsonl"
}

// result is a caption of an image, COCO's or one of ours.
type result struct {
	Image   *coco.ID `json:"image_id"`
	ID      *coco.ID `json:"id"`
	File    *coco.ID `json:"image"`
	Caption *string  `json:"caption"`
	Text    *string  `json:"text"`
}

// fields are the image and the caption.
func (r *result) fields() (id, caption string, err error) {
	for _, named := range []*coco.ID{r.Image, r.ID, r.File} {
		if named != nil {
			id = string(*named)
			break
		}
	}
	text := r.Caption
	if text == nil {
		text = r.Text
	}
	if id == "" || text == nil {
		return "", "", errors.New("want image_id and caption")
	}
	return id, *text, nil
}

func readResults(path string, f func(id, caption string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	d := json.NewDecoder(bufio.NewReader(file))
	list := strings.ToLower(filepath.Ext(path)) == ".json"
	if list {
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return fmt.Errorf("%s: want a list of {\"image_id\", \"caption\"}", path)
		}
	}
	for i := 1; ; i++ {
		if list && !d.More() {
			if _, err := d.Token(); err != nil {
				return fmt.Errorf("%s: the list is cut off after entry %d", path, i-1)
			}
			return nil
		}
		var r result
		err := d.Decode(&r)
		if err == io.EOF && !list {
			return nil
		}
		if err == nil {
			var id, caption string
			if id, caption, err = r.fields(); err == nil {
				err = f(id, caption)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: entry %d: %w", path, i, err)
		}
	}
}

// readLines reads captions and each file of references line by line.
func readLines(captions string, references []string) ([]Item, error) {
	lines, err := fileLines(captions)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: no captions", captions)
	}
	items := make([]Item, len(lines))
	for i, l := range lines {
		items[i] = Item{ID: strconv.Itoa(i + 1), Caption: l}
	}
	for _, name := range references {
		if structured(name) {
			return nil, fmt.Errorf("%s: references to the lines of %s have to be lines as well", name, captions)
		}
		refs, err := fileLines(name)
		if err != nil {
			return nil, err
		}
		if len(refs) != len(lines) {
			return nil, fmt.Errorf("%s has %d lines, %s %d", name, len(refs), captions, len(lines))
		}
		for i, r := range refs {
			items[i].References = append(items[i].References, r)
		}
	}
	return items, nil
}

func fileLines(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if len(data) == 0 {
		return nil, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for i := range lines {
		if lines[i] = strings.TrimSuffix(lines[i], "\r"); !utf8.ValidString(lines[i]) {
			return nil, fmt.Errorf("%s: line %d: not UTF-8", path, i+1)
		}
	}
	return lines, nil
}
