package coco

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/nets/pixels/batch"
)

// ID is an id in JSON: a string, or a whole number, as which 2.0 counts, too.
type ID string

func (id *ID) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err == nil {
		*id = ID(s)
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("%s is no id: want a whole number or a string", data)
	}
	if strings.ContainsAny(n.String(), ".eE") {
		v, err := n.Float64()
		if err != nil || v != math.Trunc(v) || math.Abs(v) >= 1<<53 {
			return fmt.Errorf("%s is no id: want a whole number or a string", data)
		}
		n = json.Number(strconv.FormatInt(int64(v), 10))
	}
	*id = ID(n)
	return nil
}

// array reads a JSON array one element at a time.
func array(d *json.Decoder, element func(i int) error) error {
	if t, err := d.Token(); err != nil {
		return err
	} else if t != json.Delim('[') {
		return fmt.Errorf("want an array, not %v", t)
	}
	for i := 0; d.More(); i++ {
		if err := element(i); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// object reads a JSON object; field reads the value of a key that it knows, and
// says whether it does.
func object(d *json.Decoder, field func(key string) (bool, error)) error {
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		known, err := field(t.(string))
		if err == nil && !known {
			var skip json.RawMessage
			err = d.Decode(&skip)
		}
		if err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// truncated says that a file ends early rather than EOF.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// jsonImage is an image in any of the files: COCO's, NoCaps', Karpathy's, and
// the plain list of NoCaps pictures.
type jsonImage struct {
	ID        *ID    `json:"id"`
	COCO      *ID    `json:"cocoid"`
	Number    *ID    `json:"imgid"`
	Plain     *ID    `json:"img_id"`
	File      string `json:"file_name"`
	Karpathy  string `json:"filename"`
	Folder    string `json:"filepath"`
	Image     string `json:"image"`
	Domain    string `json:"domain"`
	Split     string `json:"split"`
	Sentences []struct {
		Raw    *string  `json:"raw"`
		Tokens []string `json:"tokens"`
	} `json:"sentences"`
}

// decoding reads a JSON file from its start; field gets the keys of an object,
// element those of a list.
func decoding(path string, element func(d *json.Decoder, i int) error, field func(d *json.Decoder, key string) (bool, error)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	d := json.NewDecoder(bufio.NewReaderSize(f, 1<<16))
	t, err := d.Token()
	switch {
	case err != nil:
	case t == json.Delim('['):
		for i := 0; err == nil && d.More(); i++ {
			err = element(d, i)
		}
		if err == nil {
			_, err = d.Token()
		}
	case t == json.Delim('{'):
		err = object(d, func(key string) (bool, error) { return field(d, key) })
	default:
		err = fmt.Errorf("want an object or an array, not %v", t)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, truncated(err))
	}
	return nil
}

var errStop = errors.New("enough")

// openJSON finds out which kind of file this is. Karpathy's is read item by
// item; of COCO's the captions, which stand apart from the images and in any
// order, are kept.
//
// note says what of it is left out.
func openJSON(path string, pictures folder, o Options) (source func(yield func(Item) bool) error, note string, err error) {
	var images []jsonImage
	captions := map[ID][]string{}
	first := map[ID]int{} // by image: its first annotation
	karpathy := false
	image := func(d *json.Decoder, i int) error {
		var m jsonImage
		if err := d.Decode(&m); err != nil {
			return fmt.Errorf("image %d: %w", i+1, truncated(err))
		}
		if m.Sentences != nil || m.Split != "" {
			karpathy = true
			return errStop
		}
		images = append(images, m)
		return nil
	}
	err = decoding(path, image, func(d *json.Decoder, key string) (bool, error) {
		switch key {
		case "images":
			return true, array(d, func(i int) error { return image(d, i) })
		case "annotations":
			return true, array(d, func(i int) error {
				var a struct {
					Image   *ID `json:"image_id"`
					Caption *string
				}
				if err := d.Decode(&a); err != nil {
					return fmt.Errorf("annotation %d: %w", i+1, truncated(err))
				}
				if a.Image == nil || a.Caption == nil {
					return fmt.Errorf("annotation %d: want image_id and caption", i+1)
				}
				if captions[*a.Image] == nil {
					first[*a.Image] = i + 1
				}
				captions[*a.Image] = append(captions[*a.Image], *a.Caption)
				return nil
			})
		}
		return false, nil
	})
	if karpathy {
		split := o.Split
		if split == "" {
			split = "test"
		}
		if !slices.Contains([]string{"train", "restval", "val", "test"}, split) {
			return nil, "", fmt.Errorf("split %q: want train, restval, val or test", split)
		}
		return func(yield func(Item) bool) error { return readKarpathy(path, pictures, split, yield) }, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	if err := unsplit(path, o); err != nil {
		return nil, "", err
	}
	if len(images) == 0 {
		return nil, "",
			fmt.Errorf("%s: no images: want COCO's {\"images\", \"annotations\"}, Karpathy's {\"images\"} "+
				"or a list of {\"image\", \"img_id\"}", path)
	}
	items, used := make([]Item, 0, len(images)), map[ID]bool{}
	for i, m := range images {
		id := m.ID
		if id == nil {
			id = m.Plain
		}
		if id == nil {
			return nil, "", fmt.Errorf("%s: image %d has no id", path, i+1)
		}
		if used[*id] {
			return nil, "", fmt.Errorf("%s: image %d: there are two of id %s", path, i+1, *id)
		}
		used[*id] = true
		names := numbered(string(*id))
		if m.File != "" {
			names = named(m.File)
		} else if m.Image != "" {
			names = named(m.Image)
		}
		domain, err := domainOf(m.Domain)
		if err != nil {
			return nil, "", fmt.Errorf("%s: image %d: %w", path, i+1, err)
		}
		items = append(items, pictures.item(string(*id), names, captions[*id], domain))
	}
	var lost ID
	foreign := 0
	for id := range captions {
		if used[id] {
			continue
		}
		if foreign++; lost == "" || first[id] < first[lost] {
			lost = id
		}
	}
	if lost != "" {
		note = fmt.Sprintf("annotation %d: image_id %s is of no image", first[lost], lost)
		if foreign == len(captions) {
			return nil, "", fmt.Errorf("%s: %s, nor is any other", path, note)
		}
		note = fmt.Sprintf("%s: %s: what is written of %d such is left out", path, note, foreign)
	}
	return func(yield func(Item) bool) error {
		for _, it := range items {
			if !yield(it) {
				break
			}
		}
		return nil
	}, note, nil
}

// domainOf is in, near or out of NoCaps' in-domain, near-domain and out-domain.
func domainOf(s string) (string, error) {
	d := strings.TrimSuffix(s, "-domain")
	if d != "" && !slices.Contains([]string{"in", "near", "out"}, d) {
		return "", fmt.Errorf("domain %q: want in-domain, near-domain or out-domain", s)
	}
	return d, nil
}

func readKarpathy(path string, pictures folder, split string, yield func(Item) bool) error {
	used := map[ID]bool{}
	err := decoding(path, func(*json.Decoder, int) error { return errors.New(`want {"images"}`) }, func(d *json.Decoder,
		key string) (bool, error) {
		if key != "images" {
			return false, nil
		}
		return true, array(d, func(i int) error {
			var m jsonImage
			if err := d.Decode(&m); err != nil {
				return fmt.Errorf("image %d: %w", i+1, truncated(err))
			}
			if m.Split != split {
				return nil
			}
			id := m.COCO
			if id == nil {
				id = m.Number
			}
			if id == nil || m.Karpathy == "" {
				return fmt.Errorf("image %d: want cocoid and filename", i+1)
			}
			if used[*id] {
				return fmt.Errorf("image %d: there are two of id %s", i+1, *id)
			}
			used[*id] = true
			var refs []string
			for j, s := range m.Sentences {
				switch {
				case s.Raw != nil:
					refs = append(refs, *s.Raw)
				case s.Tokens != nil:
					refs = append(refs, strings.Join(s.Tokens, " "))
				default:
					return fmt.Errorf("image %d: sentence %d has neither raw nor tokens", i+1, j+1)
				}
			}
			names := []string{m.Karpathy}
			if m.Folder != "" {
				names = append(names, m.Folder+"/"+m.Karpathy)
			}
			if !yield(pictures.item(string(*id), names, refs, "")) {
				return errStop
			}
			return nil
		})
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// gather joins the texts of a picture that follow each other, and finds those
// that come back later.
type gather struct {
	pictures  folder
	yield     func(Item) bool
	seen      map[string]bool
	id, image string
	texts     []string
	stopped   bool
}

func (g *gather) add(id, image string, texts []string) error {
	if id == "" {
		return errors.New("no picture is named")
	}
	if id == g.id {
		g.texts = append(g.texts, texts...)
		return nil
	}
	if g.flush(); g.stopped {
		return errStop
	}
	if g.seen == nil {
		g.seen = map[string]bool{}
	}
	if g.seen[id] {
		return fmt.Errorf("%s comes again: the texts of a picture have to follow each other", id)
	}
	g.seen[id], g.id, g.image, g.texts = true, id, image, texts
	return nil
}

func (g *gather) flush() {
	if g.id != "" && !g.stopped {
		names := numbered(g.id)
		if g.image != "" {
			names = named(g.image)
		}
		g.stopped = !g.yield(g.pictures.item(g.id, names, g.texts, ""))
	}
	g.id, g.image, g.texts = "", "", nil
}

// maxLine is the longest line of a list.
const maxLine = 16 << 20

// eachLine calls f with the lines of a file that are not empty.
func eachLine(path string, f func(line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	s.Buffer(make([]byte, 1<<16), maxLine)
	n := 1
	for ; s.Scan(); n++ {
		line := bytes.TrimSuffix(s.Bytes(), []byte("\r"))
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			return fmt.Errorf("%s: line %d: not UTF-8", path, n)
		}
		if err := f(line); err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
	}
	if err := s.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("longer than %d MB: is this a list of lines?", maxLine>>20)
		}
		return fmt.Errorf("%s: line %d: %w", path, n, err)
	}
	return nil
}

// columns are what people call those of a table: those of a picture, of a text (with a
// number behind it or without), and of what is not read.
func columns() map[string]string {
	out := map[string]string{}
	for kind, names := range map[string]string{
		"picture": "image img picture photo file filename file_name filepath file_path path image_path image_file image_name id image_id " +
			"img_id key",
		"text":  "text texts caption captions reference references ref description sentence comment prompt title",
		"other": "index url split domain label width height",
	} {
		for _, n := range strings.Fields(names) {
			out[n] = kind
		}
	}
	return out
}

// headerOf is the first line of a table if it names columns; "": it is a picture's. It
// is an error where they are others than a picture and its texts.
func headerOf(path string) (header string, err error) {
	known := columns()
	err = eachLine(path, func(line []byte) error {
		var kinds []string
		for _, s := range strings.Split(string(line), "\t") {
			kinds = append(kinds, known[strings.TrimRight(strings.ToLower(strings.TrimSpace(s)), "_0123456789")])
		}
		if kinds[0] == "" {
			return errStop
		}
		header = string(line)
		if kinds[0] != "picture" || slices.ContainsFunc(kinds[1:], func(k string) bool { return k != "text" }) {
			return fmt.Errorf("it names the columns %q: want the picture's file first, and only texts behind it", header)
		}
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return header, err
}

func readTSV(path string, header bool, pictures folder, yield func(Item) bool) error {
	g := gather{pictures: pictures, yield: yield}
	err := eachLine(path, func(line []byte) error {
		if header {
			header = false
			return nil
		}
		f := strings.Split(string(line), "\t")
		image := strings.Clone(f[0]) // not the whole line
		return g.add(image, image, slices.DeleteFunc(f[1:], func(s string) bool { return s == "" }))
	})
	if errors.Is(err, errStop) {
		return nil
	}
	if err == nil {
		g.flush()
	}
	return err
}

func readJSONL(path string, pictures folder, yield func(Item) bool) error {
	g := gather{pictures: pictures, yield: yield}
	err := eachLine(path, func(line []byte) error {
		var e struct {
			ID         *ID      `json:"id"`
			COCO       *ID      `json:"image_id"`
			Image      string   `json:"image"`
			Text       *string  `json:"text"`
			Caption    *string  `json:"caption"`
			Texts      []string `json:"texts"`
			Captions   []string `json:"captions"`
			References []string `json:"references"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		texts := slices.Concat(e.Texts, e.Captions, e.References)
		for _, t := range []*string{e.Text, e.Caption} {
			if t != nil {
				texts = append(texts, *t)
			}
		}
		for _, id := range []*ID{e.ID, e.COCO} {
			if id != nil {
				return g.add(string(*id), e.Image, texts)
			}
		}
		if e.Image == "" {
			return errors.New(`want {"image", "text"}, or id or image_id, or texts`)
		}
		return g.add(e.Image, e.Image, texts)
	})
	if errors.Is(err, errStop) {
		return nil
	}
	if err == nil {
		g.flush()
	}
	return err
}

// readFolder takes the pictures of a folder by name; the lines of a text file of
// the same name are their texts.
func readFolder(path string, yield func(Item) bool) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || !batch.IsPicture(e.Name()) {
			continue
		}
		found = true
		var texts []string
		err := eachLine(filepath.Join(path, strings.TrimSuffix(e.Name(), ext)+".txt"), func(line []byte) error {
			texts = append(texts, string(line))
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !yield(folder(path).item(e.Name(), []string{e.Name()}, texts, "")) {
			return nil
		}
	}
	if !found {
		return fmt.Errorf("%s: no pictures: want PNG, JPEG, WebP, GIF, BMP or TIFF files in it, not in folders below, or captions.json", path)
	}
	return nil
}
