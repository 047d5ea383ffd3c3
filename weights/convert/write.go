package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"parley/weights"
	"parley/weights/safetensors"
	"parley/weights/vocab"
)

// Options say how a checkpoint is written.
type Options struct {
	DType      string // of all tensors: "F32", "F16" or "BF16"; "" leaves each its own
	Prediction string // what Stable Diffusion's UNet predicts, one of Predictions; "" is what the source says, or a guess
}

// Predictions are what a UNet can predict, as schedulers' prediction_type.
var Predictions = []string{"epsilon", "v_prediction", "sample"}

// Convert writes the checkpoint at src, a file or a folder, as a folder of
// Hugging Face's layout at dst: the tensors under their canonical names as
// safetensors, config.json taken from src or inferred from the shapes, and the
// small files beside (tokenizers, schedulers). Single files bring no tokenizer: the
// published one is written where the model has so many words. The same source
// gives the same bytes.
//
// The folder appears complete or not at all; a dst that exists is an error that
// is fs.ErrExist.
func Convert(ctx context.Context, src, dst string, o Options) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("convert %s: %w", src, err)
		}
	}()
	o.DType = strings.ToUpper(o.DType)
	switch o.DType {
	case "", "F32", "F16", "BF16":
	default:
		return fmt.Errorf("dtype %q: want F32, F16 or BF16", o.DType)
	}
	if o.Prediction != "" && !slices.Contains(Predictions, o.Prediction) {
		return fmt.Errorf("prediction %q: want one of %s", o.Prediction, strings.Join(Predictions, ", "))
	}
	dst = filepath.Clean(dst)
	if err := absent(dst); err != nil {
		return err
	}
	st, err := os.Stat(src)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dst), "."+filepath.Base(dst)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // nothing is left of it after the rename
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	w := writer{ctx: ctx, Options: o}
	pipeline := false
	if st.IsDir() {
		_, err := os.Stat(filepath.Join(src, "model_index.json"))
		pipeline = err == nil
	}
	if pipeline {
		err = w.pipeline(src, tmp)
	} else {
		err = w.checkpoint(src, tmp, st.IsDir())
	}
	if err != nil {
		return err
	}
	if err := absent(dst); err != nil {
		return err
	}
	return os.Rename(tmp, dst)
}

func absent(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type writer struct {
	ctx context.Context
	Options
}

// pipeline converts the parts of a Stable Diffusion folder one by one.
func (w writer) pipeline(src, dst string) error {
	for _, part := range []string{UNet, VAE, TextEncoder} {
		err := w.one(filepath.Join(src, part), filepath.Join(dst, part), true, part)
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	for _, part := range []string{"scheduler", "tokenizer", "feature_extractor"} {
		if _, err := os.Stat(filepath.Join(src, part)); err != nil {
			continue
		}
		if err := copySmall(filepath.Join(src, part), filepath.Join(dst, part)); err != nil {
			return err
		}
	}
	if w.Prediction != "" {
		if err := w.predict(dst); err != nil {
			return err
		}
	}
	return copySmall(src, dst)
}

// predict puts what is predicted into a folder's scheduler.
func (w writer) predict(dst string) error {
	const file = "scheduler/scheduler_config.json"
	c, err := weights.ReadConfig(os.DirFS(dst), file)
	if err != nil {
		return err
	}
	c[predictionType] = w.Prediction
	return writeJSON(filepath.Join(dst, filepath.FromSlash(file)), c)
}

// one converts a checkpoint that has to hold one part.
func (w writer) one(src, dst string, folder bool, part string) (err error) {
	set, err := weights.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	parts, err := Canonical(set)
	if err != nil {
		return err
	}
	if len(parts) != 1 || parts[part] == nil {
		return fmt.Errorf("the checkpoint holds no %s alone", part)
	}
	return w.part(src, dst, folder, part, parts[part])
}

// checkpoint converts a file or a folder of one checkpoint.
func (w writer) checkpoint(src, dst string, folder bool) (err error) {
	set, err := weights.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if w.Prediction != "" {
		set.About = weights.Config{predictionType: w.Prediction}
	}
	parts, err := Canonical(set)
	if err != nil {
		return err
	}
	if len(parts) == 1 && w.Prediction != "" {
		return errors.New("a prediction, but no whole Stable Diffusion to write it for")
	}
	if len(parts) == 1 {
		for part, s := range parts {
			return w.part(src, dst, folder, part, s)
		}
	}
	for _, part := range []string{UNet, VAE, TextEncoder} {
		if parts[part] == nil {
			return fmt.Errorf("no %s in the checkpoint", part)
		}
		if err := w.part(src, filepath.Join(dst, part), false, part, parts[part]); err != nil {
			return err
		}
	}
	if err := tokenizer(filepath.Join(dst, "tokenizer"), TextEncoder, parts[TextEncoder]); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dst, "scheduler"), 0o755); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dst, "scheduler", "scheduler_config.json"), InferScheduler(parts[UNet])); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dst, "model_index.json"), modelIndex())
}

// part writes the folder of a part.
func (w writer) part(src, dst string, folder bool, part string, set *weights.Set) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	if folder {
		if err := copySmall(src, dst); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(dst, "config.json")); err != nil {
		c, err := InferConfig(part, set)
		if err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(dst, "config.json"), c); err != nil {
			return err
		}
	}
	if part == CLIP || part == BLIP {
		if err := tokenizer(dst, part, set); err != nil {
			return err
		}
	}
	entries := set.Entries()
	if w.DType != "" {
		for i, e := range entries {
			if err := w.ctx.Err(); err != nil {
				return err
			}
			var err error
			if entries[i], err = weights.To(e, w.DType); err != nil {
				return err
			}
		}
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	name := "model.safetensors"
	if part == UNet || part == VAE {
		name = "diffusion_pytorch_model.safetensors"
	}
	return safetensors.WriteFile(filepath.Join(dst, name), entries)
}

// Pad is what Stable Diffusion's texts are padded with, by its text encoder.
func Pad(width int) string {
	if width == 1024 { // of Stable Diffusion 2
		return vocab.PadOpenCLIP
	}
	return vocab.PadCLIP
}

// tokenizer writes the published words of a part into a folder that has none,
// if the part has so many.
func tokenizer(dst, part string, set *weights.Set) error {
	for _, f := range []string{"tokenizer.json", "vocab.json", "vocab.txt"} {
		if _, err := os.Stat(filepath.Join(dst, f)); err == nil {
			return nil
		}
	}
	s := shapes{set: set}
	table := map[string]string{
		TextEncoder: "embeddings.token_embedding.weight", CLIP: "text_model.embeddings.token_embedding.weight",
		BLIP: "text_decoder.bert.embeddings.word_embeddings.weight",
	}[part]
	words, width := s.dim(table, 2, 0), s.dim(table, 2, 1)
	if s.err != nil {
		return s.err
	}
	var files map[string][]byte
	var err error
	switch {
	case part == TextEncoder && words == vocab.CLIPWords:
		files, err = vocab.CLIPFiles(Pad(width))
	case part == CLIP && words == vocab.CLIPWords:
		files, err = vocab.CLIPFiles(vocab.PadCLIP)
	case part == BLIP && words == vocab.BLIPWords:
		files, err = vocab.BERTFiles()
	default:
		return nil // words of its own, which the checkpoint does not bring
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		if _, err := os.Stat(filepath.Join(dst, name)); err == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dst, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// smallFile is the largest file that is copied; tokenizers have some MB.
const smallFile = 32 << 20

// copySmall copies the files of a folder that are no weights.
func copySmall(src, dst string) error {
	list, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	for _, f := range list {
		ext := filepath.Ext(f.Name())
		if f.IsDir() || ext != ".json" && ext != ".txt" && ext != ".model" ||
			strings.Contains(f.Name(), ".index.") {
			continue
		}
		// Stat follows the links of a download cache.
		st, err := os.Stat(filepath.Join(src, f.Name()))
		if err != nil || !st.Mode().IsRegular() || st.Size() > smallFile {
			continue
		}
		data, err := os.ReadFile(filepath.Join(src, f.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dst, f.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(path string, c weights.Config) error {
	data, err := c.MarshalJSON()
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
