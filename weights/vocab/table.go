// Package vocab turns text into the token ids of the text models and back:
// CLIP's byte-level BPE and BERT's WordPiece.
package vocab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/weights"
)

// absent stands for an id that no word has; no text has a word like it.
const absent = "\x00"

// table is a vocabulary: the model's own words, and the tokens that are found
// in the text before the model sees it.
type table struct {
	file  string
	ids   map[string]int32 // of the model's words
	words []string
	added []token
	index map[string]int // of added, by text
	skip  map[int32]bool // special tokens

	vectors     map[int32]int // of textual inversion, by the first of their ids
	normalize   func(*pace, string) *aligned
	raw, normal *finder // of added, in text as it is given and normalized
}

// token is an added token. A normalized one is looked for in normalized text,
// a single one only where no word goes on beyond it; those that strip take the
// spaces beside them.
type token struct {
	text                                        string
	id                                          int32
	special, normalized, single, lstrip, rstrip bool
}

// newTable takes a vocabulary with ids of its own.
func newTable(file string, ids map[string]int32) (*table, error) {
	t := &table{file: file, ids: ids, index: map[string]int{}, skip: map[int32]bool{}}
	limit := int32(len(ids) + 1<<16)
	n := int32(0)
	for w, id := range ids {
		if id < 0 || id >= limit {
			return nil, fmt.Errorf("%s: %q has id %d, want less than %d", file, w, id, limit)
		}
		n = max(n, id+1)
	}
	t.words = slices.Repeat([]string{absent}, int(n))
	for w, id := range ids {
		if t.words[id] != absent {
			return nil, fmt.Errorf("%s: %q and %q both have id %d", file, t.words[id], w, id)
		}
		t.words[id] = w
	}
	return t, nil
}

// id is the id of a model's word or an added token.
func (t *table) id(word string) (int32, bool) {
	if id, ok := t.ids[word]; ok {
		return id, true
	}
	if i, ok := t.index[word]; ok {
		return t.added[i].id, true
	}
	return 0, false
}

// word is the text of an id.
func (t *table) word(id int32) (string, bool) {
	if id < 0 || int(id) >= len(t.words) || t.words[id] == absent {
		return "", false
	}
	return t.words[id], true
}

func (t *table) names(ids []int32) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i], _ = t.word(id)
	}
	return out
}

// add makes a token one that is found in the text; a token that the model does
// not have gets the next id, and one that is there already its new flags.
func (t *table) add(a token) {
	if a.text == "" || a.text == absent {
		return
	}
	id, ok := t.id(a.text)
	if !ok {
		id = int32(len(t.words))
		t.words = append(t.words, a.text)
	}
	a.id = id
	if a.special {
		t.skip[id] = true
	}
	if i, ok := t.index[a.text]; ok {
		t.added[i] = a
		return
	}
	t.index[a.text] = len(t.added)
	t.added = append(t.added, a)
}

// build makes ready what finds the added tokens. A normalized one is read as its
// normal form from then on.
func (t *table) build(normalize func(*pace, string) *aligned) {
	var raw, normal []token
	for _, a := range t.added {
		if !a.normalized {
			raw = append(raw, a)
			continue
		}
		a.text = string(normalize(&pace{ctx: context.Background()}, a.text).text)
		t.words[a.id] = a.text
		if a.text != "" {
			normal = append(normal, a)
		}
	}
	t.raw, t.normal = newFinder(raw), newFinder(normal)
}

// settings are tokenizer_config.json, special_tokens_map.json and the added
// tokens of tokenizer.json, each where it is there.
type settings struct {
	config weights.Config
	token  map[string]token
	extra  []token
	fixed  []token // with ids of their own, in the order of these
}

// named are the keys of special tokens, in the order that they are added.
var named = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// readSettings reads what stands beside a vocabulary; js is the folder's tokenizer.json
// where that has been read, else nil.
func readSettings(fsys fs.FS, dir string, js *tokenizerJSON, defaults map[string]string) (*settings, error) {
	s := &settings{token: map[string]token{}}
	for k, v := range defaults {
		s.token[k] = token{text: v, special: true}
	}
	name := path.Join(dir, "tokenizer_config.json")
	config, err := weights.ReadConfig(fsys, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.config = config
	if err := s.tokens(name, config); err != nil {
		return nil, err
	}
	r := config.Reader()
	r.Only("split_special_tokens", false, "special tokens in a text are tokens")
	if r.Err() != nil {
		return nil, r.Err()
	}
	if config.Has("added_tokens_decoder") {
		if err := s.decoder(name, config["added_tokens_decoder"]); err != nil {
			return nil, err
		}
	} else {
		name = path.Join(dir, "special_tokens_map.json")
		m, err := weights.ReadConfig(fsys, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := s.tokens(name, m); err != nil {
			return nil, err
		}
		if err := s.legacy(fsys, path.Join(dir, "added_tokens.json")); err != nil {
			return nil, err
		}
		var beside addedTokens
		name = path.Join(dir, "tokenizer.json")
		if js != nil {
			beside = js.addedTokens
		} else if err := readJSON(fsys, name, &beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		added, err := beside.tokens(name)
		if err != nil {
			return nil, err
		}
		s.fixed = append(s.fixed, added...)
	}
	slices.SortStableFunc(s.fixed, func(a, b token) int { return cmp.Compare(a.id, b.id) })
	fixed := make(map[string]token, len(s.fixed))
	for _, f := range s.fixed {
		fixed[f.text] = f
	}
	for k, v := range s.token {
		if f, ok := fixed[v.text]; ok {
			f.special = true
			s.token[k] = f
		}
	}
	return s, nil
}

// tokens takes the special tokens of one file.
func (s *settings) tokens(file string, c weights.Config) error {
	for _, k := range named {
		if !c.Has(k) {
			continue
		}
		a, err := parseToken(file, k, c[k])
		if err != nil {
			return err
		}
		a.special = true
		s.token[k] = a
	}
	for _, k := range []string{"additional_special_tokens", "extra_special_tokens"} {
		list, ok := c[k].([]any)
		if !ok {
			if _, object := c[k].(map[string]any); object || !c.Has(k) {
				continue
			}
			return fmt.Errorf("%s: %s: want a list of tokens", file, k)
		}
		for _, v := range list {
			a, err := parseToken(file, k, v)
			if err != nil {
				return err
			}
			a.special = true
			s.extra = append(s.extra, a)
		}
	}
	return nil
}

// legacy takes added_tokens.json, an object of ids by text, where it is there.
func (s *settings) legacy(fsys fs.FS, file string) error {
	data, err := fs.ReadFile(fsys, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var ids map[string]int32
	if err := json.Unmarshal(trimBOM(data), &ids); err != nil {
		return fmt.Errorf("%s: want an object of ids by token: %w", file, err)
	}
	special := map[string]bool{}
	for _, v := range s.token {
		special[v.text] = true
	}
	for _, v := range s.extra {
		special[v.text] = true
	}
	for _, text := range slices.Sorted(maps.Keys(ids)) {
		s.fixed = append(s.fixed, token{text: text, id: ids[text], special: special[text], normalized: !special[text]})
	}
	return nil
}

func (s *settings) decoder(file string, v any) error {
	const key = "added_tokens_decoder"
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: %s: want an object", file, key)
	}
	for k, v := range m {
		id, err := strconv.ParseInt(k, 10, 32)
		if err != nil {
			return fmt.Errorf("%s: %s: %q is no id", file, key, k)
		}
		a, err := parseToken(file, key, v)
		if err != nil {
			return err
		}
		a.id = int32(id)
		s.fixed = append(s.fixed, a)
	}
	return nil
}

// parseToken reads a token that is a string, or an object with flags.
func parseToken(file, key string, v any) (token, error) {
	switch v := v.(type) {
	case string:
		return token{text: v, special: true}, nil
	case map[string]any:
		flag := func(k string, def bool) bool {
			if b, ok := v[k].(bool); ok {
				return b
			}
			return def
		}
		text, ok := v["content"].(string)
		if ok {
			special := flag("special", false)
			return token{text: text, special: special, normalized: flag("normalized", !special),
				single: flag("single_word", false), lstrip: flag("lstrip", false), rstrip: flag("rstrip", false)}, nil
		}
	}
	return token{}, fmt.Errorf("%s: %s: want a token", file, key)
}

// apply adds the tokens to the table.
func (s *settings) apply(t *table) {
	for _, a := range s.fixed {
		t.add(a)
	}
	for _, k := range named {
		t.add(s.token[k])
	}
	for _, a := range s.extra {
		if _, ok := t.index[a.text]; !ok {
			t.add(a)
		}
	}
}

// need is the id of the token under a key; one that the model must have.
func (s *settings) need(t *table, key string) (int32, error) {
	id, ok := t.ids[s.token[key].text]
	if !ok {
		return 0, fmt.Errorf("%s: no %q, which is the %s", t.file, s.token[key].text, key)
	}
	return id, nil
}

// tokenizerJSON is what a tokenizer.json has of the model.
type tokenizerJSON struct {
	Model struct {
		Type   string
		Vocab  map[string]int32
		Merges []json.RawMessage
	}
	Normalizer json.RawMessage
	addedTokens
}

// addedTokens are a tokenizer.json's, which may stand beside a vocabulary in a file of
// its own.
type addedTokens struct {
	Added []map[string]any `json:"added_tokens"`
}

func readTokenizerJSON(fsys fs.FS, file, kind string) (*tokenizerJSON, error) {
	js := new(tokenizerJSON)
	if err := readJSON(fsys, file, js); err != nil {
		return nil, err
	}
	if js.Model.Type != kind && js.Model.Type != "" {
		return nil, fmt.Errorf("%s: model.type: have %q, want %q", file, js.Model.Type, kind)
	}
	if len(js.Model.Vocab) == 0 {
		return nil, fmt.Errorf("%s: model.vocab: empty", file)
	}
	return js, nil
}

func readJSON(fsys fs.FS, file string, v any) error {
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(trimBOM(data), v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func (a addedTokens) tokens(file string) (list []token, err error) {
	for _, v := range a.Added {
		t, err := parseToken(file, "added_tokens", v)
		if err != nil {
			return nil, err
		}
		id, ok := v["id"].(float64)
		if !ok || id != float64(int32(id)) {
			return nil, fmt.Errorf("%s: added_tokens: %q has no id", file, t.text)
		}
		t.id = int32(id)
		list = append(list, t)
	}
	return list, nil
}

// trimBOM drops the mark that some editors put before a text.
func trimBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

// lines are the lines of a text file; it must be UTF-8.
func lines(file string, data []byte) ([]string, error) {
	data = trimBOM(data)
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: not UTF-8", file)
	}
	s := strings.TrimSuffix(string(data), "\n")
	if s == "" {
		return nil, fmt.Errorf("%s: empty", file)
	}
	out := strings.Split(s, "\n")
	for i, l := range out {
		out[i] = strings.TrimSuffix(l, "\r")
	}
	return out, nil
}
