package vocab

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
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

// DefaultCLIP is the tokenizer of OpenAI's CLIP models; others have its words
// too.
func DefaultCLIP() (*CLIP, error) {
	const file = "clip-merges.txt.gz"
	data, err := unzip(file, clipMerges)
	if err != nil {
		return nil, err
	}
	merges, err := parseMerges(file, data)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]int32, 2*len(alphabet)+len(merges)+2)
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
	return newCLIP(file, file, ids, merges, defaults(clipTokens))
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
	return newBERT(t, defaults(bertTokens), nil)
}
