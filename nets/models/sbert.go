package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/nets/bert"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/vocab"
)

// SBERT embeds sentences (arXiv 1908.10084), as sentence-transformers'
// all-MiniLM-L6-v2 does: the mean of a BERT's last hidden states over a text's
// tokens, of length 1. It is immutable and serves several runs at a time.
type SBERT struct {
	embedder[*bert.Model]
	// Length is how many tokens of a text it looks at.
	Length int
	tokens *vocab.BERT
}

// OpenSBERT loads a folder of sentence-transformers or of a plain BERT.
func OpenSBERT(src Source, dev engine.Device) (_ *SBERT, err error) {
	e, err := openEmbedder(src, dev, "SBERT", "sbert", convert.BERT, bert.Load)
	if err != nil {
		return nil, err
	}
	b := &SBERT{embedder: e, Length: e.Net.Length}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	in, _ := src.in("sbert")
	if in.file {
		return nil, fmt.Errorf("%s: want a folder: sentences are embedded with the vocabulary beside their model", src)
	}
	if err := b.settings(in); err != nil {
		return nil, err
	}
	if b.tokens, err = vocab.LoadSBERT(in.fsys, in.dir); err != nil {
		return nil, err
	}
	return b, covers(src.String(), b.tokens.Encode("a sentence"), e.Net.Vocab)
}

// settings reads what sentence-transformers keeps beside a model.
func (b *SBERT) settings(src Source) error {
	data, err := fs.ReadFile(src.fsys, path.Join(src.dir, "modules.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if src.Note != nil {
			src.Note(fmt.Sprintf("%s has no modules.json: sentences are embedded by the mean of their tokens, as sentence-transformers does then",
				src))
		}
		return nil
	}
	if err != nil {
		return err
	}
	var modules []struct{ Path, Type string }
	if err := json.Unmarshal(data, &modules); err != nil {
		return fmt.Errorf("%s: modules.json: %w", src, err)
	}
	for _, m := range modules {
		if m.Path != "" && !fs.ValidPath(m.Path) {
			return fmt.Errorf("%s: modules.json: %q is no folder of this one", src, m.Path)
		}
		switch m.Type[strings.LastIndex(m.Type, ".")+1:] {
		case "Transformer":
			err = b.transformer(src, m.Path)
		case "Pooling":
			err = pooling(src, m.Path)
		case "Normalize": // embeddings have length 1 in any case
		default:
			err = fmt.Errorf("%s: modules.json: %s is not read: want Transformer, Pooling and Normalize", src, m.Type)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transformer reads how texts become tokens.
func (b *SBERT) transformer(src Source, folder string) error {
	if folder != "" && folder != "." {
		return fmt.Errorf("%s: modules.json: the transformer lies in %s: want it in the folder itself", src, folder)
	}
	c, err := weights.ReadConfig(src.fsys, path.Join(src.dir, "sentence_bert_config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r := c.Reader()
	b.Length = r.Within("max_seq_length", b.Net.Length, 3, b.Net.Length)
	r.Only("do_lower_case", false, "whether case counts is the tokenizer's to say")
	return r.Err()
}

// pooling refuses what is not the mean of a text's tokens.
func pooling(src Source, folder string) error {
	c, err := weights.ReadConfig(src.fsys, path.Join(src.dir, folder, "config.json"))
	if err != nil {
		return err
	}
	r := c.Reader()
	const why = "only the mean of tokens is read"
	r.Only("pooling_mode", "mean", why)
	if !c.Has("pooling_mode") {
		r.Only("pooling_mode_mean_tokens", true, why)
	}
	for key := range c {
		if strings.HasPrefix(key, "pooling_mode_") && key != "pooling_mode_mean_tokens" {
			r.Only(key, false, why)
		}
	}
	return r.Err()
}

// EmbedTexts gives an embedding of each text, [N, D], of length 1. A text beyond
// Length tokens is cut. Texts of one length are embedded together, so that nothing
// is padded. Where some are not finite, the error is finite.Items beside the others,
// and their rows are zeros.
func (b *SBERT) EmbedTexts(run engine.Run, texts []string) (*tensor.Dense, error) {
	ctx := run.Context
	if ctx == nil {
		ctx = context.Background()
	}
	ids := make([][]int32, len(texts))
	order := make([]int, len(texts))
	for i, text := range texts {
		e, err := b.tokens.Tokenize(ctx, text, b.Length)
		if err != nil {
			return nil, err
		}
		ids[i], order[i] = e.IDs[:min(e.Tokens, len(e.IDs))], i // without padding
	}
	slices.SortStableFunc(order, func(i, j int) int { return len(ids[i]) - len(ids[j]) })
	const most = 64
	var batches [][]int
	for at := 0; at < len(order); {
		end := at + 1
		for end < len(order) && end-at < most && len(ids[order[end]]) == len(ids[order[at]]) {
			end++
		}
		batches = append(batches, order[at:end])
		at = end
	}
	return b.embed(run, len(texts), b.Net.Width, batches, func(s *engine.Stream, items []int) (*engine.Tensor, error) {
		var rows [][]int32
		for _, i := range items {
			rows = append(rows, ids[i])
		}
		return b.Net.Embed(s, rows)
	})
}

// Lost is the part of a text that is cut off; "" where all is seen.
func (b *SBERT) Lost(ctx context.Context, text string) (string, error) {
	e, err := b.tokens.Tokenize(ctx, text, b.Length)
	if err != nil {
		return "", err
	}
	return e.Lost(), nil
}
