package vocab

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
)

// The merges are the part of CLIP's bpe_simple_vocab_16e6.txt that its
// vocabulary uses; the words are those of bert-base-uncased.
var (
	//go:embed data/clip-merges.txt.gz
	clipMerges []byte
	//go:embed data/bert-vocab.txt.gz
	bertVocab []byte
)

func unzip(file string, data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		data, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return data, nil
}

func defaults(words map[string]string) *settings {
	s := &settings{token: map[string]token{}}
	for k, v := range words {
		s.token[k] = token{text: v, special: true}
	}
	return s
}

// CLIPWords is the size of the vocabulary of OpenAI's CLIP models.
const CLIPWords = 49408

// The words that texts are padded with.
const (
	PadCLIP     = "<|endoftext|>" // OpenAI's CLIP, Stable Diffusion 1
	PadOpenCLIP = "!"             // Stable Diffusion 2; a token of its own then
)

// clipWords are the embedded merges and the vocabulary that they make.
func clipWords() (file string, ids map[string]int32, merges [][2]string, err error) {
	file = "clip-merges.txt.gz"
	data, err := unzip(file, clipMerges)
	if err != nil {
		return "", nil, nil, err
	}
	if merges, err = parseMerges(file, data); err != nil {
		return "", nil, nil, err
	}
	ids = make(map[string]int32, CLIPWords)
	for i, r := range alphabet {
		ids[string(r)] = int32(i)
		ids[string(r)+wordEnd] = int32(i + len(alphabet))
	}
	for _, m := range merges {
		ids[m[0]+m[1]] = int32(len(ids))
	}
	for _, k := range []string{"bos_token", "eos_token"} {
		ids[clipTokens[k]] = int32(len(ids))
	}
	return file, ids, merges, nil
}

// DefaultCLIP is the tokenizer of OpenAI's CLIP models, whose words others have
// too, with one of the paddings.
func DefaultCLIP(pad string) (*CLIP, error) {
	file, ids, merges, err := clipWords()
	if err != nil {
		return nil, err
	}
	words := maps.Clone(clipTokens)
	words["pad_token"] = pad
	return newCLIP(file, file, ids, merges, defaults(words))
}

// CLIPFiles are the files of the tokenizer of OpenAI's CLIP as transformers
// reads them, by name, with the ids that a text has at most.
func CLIPFiles(pad string, length int) (map[string][]byte, error) {
	_, ids, merges, err := clipWords()
	if err != nil {
		return nil, err
	}
	vocabulary, err := marshal(ids)
	if err != nil {
		return nil, err
	}
	lines := []byte("#version: 0.2\n")
	for _, m := range merges {
		lines = append(lines, m[0]+" "+m[1]+"\n"...)
	}
	special := map[string]any{}
	for k, v := range clipTokens {
		special[k] = v
	}
	special["pad_token"] = pad
	config := map[string]any{"tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": true, "errors": "replace",
		"add_prefix_space": false}
	return withSettings(map[string][]byte{"vocab.json": vocabulary, "merges.txt": lines}, config, special)
}

// withSettings adds tokenizer_config.json and special_tokens_map.json.
func withSettings(files map[string][]byte, config, special map[string]any) (map[string][]byte, error) {
	maps.Copy(config, special)
	for name, v := range map[string]any{"tokenizer_config.json": config, "special_tokens_map.json": special} {
		data, err := marshal(v)
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	return files, nil
}

// marshal writes JSON with its keys sorted and the words as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// BLIPWords is the size of BLIP's vocabulary: that of bert-base-uncased and two
// tokens.
const BLIPWords = bertWords + 2

// BERTFiles are the files of the tokenizer of bert-base-uncased as
// transformers reads them, by name. BLIP's two tokens are not in them, as in
// its published ones.
func BERTFiles() (map[string][]byte, error) {
	words, err := unzip("bert-vocab.txt.gz", bertVocab)
	if err != nil {
		return nil, err
	}
	special := map[string]any{}
	for k, v := range bertTokens {
		special[k] = v
	}
	config := map[string]any{"tokenizer_class": "BertTokenizer", "model_max_length": 512, "do_lower_case": true,
		"tokenize_chinese_chars": true}
	return withSettings(map[string][]byte{"vocab.txt": words}, config, special)
}

// DefaultBERT is the tokenizer of bert-base-uncased, with BLIP's two tokens.
func DefaultBERT() (*BERT, error) {
	const file = "bert-vocab.txt.gz"
	data, err := unzip(file, bertVocab)
	if err != nil {
		return nil, err
	}
	t, err := parseWords(file, data)
	if err != nil {
		return nil, err
	}
	return newBERT(t, defaults(bertTokens), nil, true)
}
