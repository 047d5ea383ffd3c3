package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"parley/output"
	"parley/weights"
	"parley/weights/safetensors"
	"parley/weights/vocab"
)

// Options say how a checkpoint is written.
type Options struct {
	DType string // of all tensors: "F32", "F16" or "BF16"; "" leaves each its own
	Assume
	Variant string       // of the files of a source's folders; "" prefers those without one
	Note    func(string) // is told what was guessed; nil: nobody is
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
// is fs.ErrExist. What killed runs have left beside dst is removed.
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
	if err := o.Assume.check(); err != nil {
		return err
	}
	if src, err = weights.Snapshot(src); err != nil {
		return err
	}
	st, err := os.Stat(src)
	if err != nil {
		return err
	}
	if err := output.Sweep(filepath.Dir(filepath.Clean(dst))); err != nil {
		return err
	}
	folder, err := output.NewFolder(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	w := writer{ctx: ctx, Options: o}
	pipeline := false
	if st.IsDir() {
		_, err := os.Stat(filepath.Join(src, "model_index.json"))
		pipeline = err == nil
	}
	if pipeline {
		err = w.pipeline(src, folder.Path)
	} else {
		err = w.checkpoint(src, folder.Path, st.IsDir())
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return folder.Commit()
}

type writer struct {
	ctx context.Context
	Options
}

// done tells what was guessed about a set, fails where its files have changed,
// and closes it.
func (w writer) done(set *weights.Set, err error) error {
	if err == nil {
		err = set.Unchanged()
	}
	if w.Note != nil && err == nil {
		for _, n := range set.Notes() {
			w.Note(n)
		}
	}
	return errors.Join(err, set.Close())
}

// pipeline converts the parts of a Stable Diffusion folder one by one.
func (w writer) pipeline(src, dst string) error {
	index, err := ReadPipeline(os.DirFS(src), ".")
	if err != nil {
		return err
	}
	for _, part := range []string{UNet, VAE, TextEncoder} {
		from := filepath.Join(src, part)
		if st, err := os.Stat(from); err != nil || !st.IsDir() {
			return fmt.Errorf("no %s: there is no folder %s/", part, part)
		}
		if err := w.one(from, filepath.Join(dst, part), true, part); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	for _, part := range []string{"scheduler", "tokenizer", "feature_extractor"} {
		if _, err := os.Stat(filepath.Join(src, part)); err != nil {
			continue
		}
		if err := w.copySmall(filepath.Join(src, part), filepath.Join(dst, part)); err != nil {
			return err
		}
	}
	if err := w.scheduler(dst, index); err != nil {
		return err
	}
	return w.copySmall(src, dst)
}

// scheduler writes into a folder's scheduler what is used of it: the class of
// the pipeline, what Stable Diffusion's pipeline forces, and what is predicted.
func (w writer) scheduler(dst string, index Pipeline) error {
	const file = "scheduler/scheduler_config.json"
	c, err := weights.ReadConfig(os.DirFS(dst), file)
	if errors.Is(err, fs.ErrNotExist) && w.Prediction == "" {
		return nil
	}
	if err != nil {
		return err
	}
	index.Complete(c)
	if w.Prediction != "" {
		c[predictionType] = w.Prediction
	}
	return writeJSON(filepath.Join(dst, filepath.FromSlash(file)), c)
}

// one converts a checkpoint that has to hold one part.
func (w writer) one(src, dst string, folder bool, part string) (err error) {
	set, err := weights.OpenVariant(src, w.Variant)
	if err != nil {
		return err
	}
	defer func() { err = w.done(set, err) }()
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
	set, err := weights.OpenVariant(src, w.Variant)
	if err != nil {
		return err
	}
	defer func() { err = w.done(set, err) }()
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
	if err := os.Mkdir(filepath.Join(dst, "scheduler"), 0o777); err != nil {
		return err
	}
	scheduler := w.Assume.Scheduler(parts[UNet])
	if err := writeJSON(filepath.Join(dst, "scheduler", "scheduler_config.json"), scheduler); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dst, "model_index.json"), modelIndex(scheduler))
}

// part writes the folder of a part.
func (w writer) part(src, dst string, folder bool, part string, set *weights.Set) error {
	if err := os.MkdirAll(dst, 0o777); err != nil {
		return err
	}
	if folder {
		if err := w.copySmall(src, dst); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(dst, "config.json")); err != nil {
		c, err := w.Assume.Config(part, set)
		if err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(dst, "config.json"), c); err != nil {
			return err
		}
	}
	if part == CLIP && !folder {
		// It says how pictures are prepared, which config.json does not.
		c, err := set.Beside("open_clip_config.json")
		if err == nil {
			err = writeJSON(filepath.Join(dst, "open_clip_config.json"), c)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if part == CLIP || part == BLIP {
		if err := tokenizer(dst, part, set); err != nil {
			return err
		}
	}
	name := "model.safetensors"
	if part == UNet || part == VAE {
		name = "diffusion_pytorch_model.safetensors"
	}
	return w.tensors(filepath.Join(dst, name), set.Entries())
}

// tensors writes a file a piece at a time, so that memory stays flat and a stop
// takes no longer than a piece.
func (w writer) tensors(path string, entries []weights.Entry) error {
	from := make(map[string]weights.Entry, len(entries))
	to := make([]weights.Entry, len(entries))
	for i, e := range entries {
		from[e.Name] = e
		if w.DType != "" {
			if err := weights.Convertible(e, w.DType); err != nil {
				return err
			}
			e.DType = w.DType
		}
		to[i] = e
	}
	return output.Write(path, output.Options{}, func(f io.Writer) error {
		pieces := &pieces{ctx: w.ctx, w: f}
		err := safetensors.WriteAs(pieces, to, map[string]string{"format": "pt"}, func(safetensors.Tensor) error { return nil },
			func(out io.Writer, t safetensors.Tensor) error {
				e := from[t.Name]
				if t.DType != e.DType {
					return weights.WriteAs(out, e, t.DType)
				}
				_, err := out.Write(e.Data)
				return err
			})
		if err == nil {
			err = pieces.sync()
		}
		return err
	})
}

// pieces writes at most so many bytes between two looks at the context, and
// brings them to the disk, since the system would else do all of that at the
// end, when nobody can stop it.
type pieces struct {
	ctx     context.Context
	w       io.Writer
	pending int // bytes since the last sync
}

const piece, syncedPiece = 4 << 20, 64 << 20

func (p *pieces) Write(b []byte) (int, error) {
	done := 0
	for {
		if err := p.ctx.Err(); err != nil {
			return done, err
		}
		n, err := p.w.Write(b[done:min(done+piece, len(b))])
		done += n
		p.pending += n
		if err != nil || done == len(b) {
			if errors.Is(err, syscall.EFAULT) { // the source is mapped, and its pages are gone
				err = &safetensors.FaultError{}
			}
			return done, err
		}
		if p.pending >= syncedPiece {
			if err := p.sync(); err != nil {
				return done, err
			}
		}
	}
}

func (p *pieces) sync() error {
	p.pending = 0
	if f, ok := p.w.(interface{ Sync() error }); ok {
		return f.Sync()
	}
	return nil
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
	words, width, positions := s.dim(table, 2, 0), s.dim(table, 2, 1), 0
	if part != BLIP {
		positions = s.dim(strings.Replace(table, "token_", "position_", 1), 2, 0)
	}
	if s.err != nil {
		return s.err
	}
	var files map[string][]byte
	var err error
	switch {
	case part == TextEncoder && words == vocab.CLIPWords:
		files, err = vocab.CLIPFiles(Pad(width), positions)
	case part == CLIP && words == vocab.CLIPWords:
		files, err = vocab.CLIPFiles(vocab.PadCLIP, positions)
	case part == BLIP && words == vocab.BLIPWords:
		files, err = vocab.BERTFiles()
	default:
		return nil // words of its own, which the checkpoint does not bring
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o777); err != nil {
		return err
	}
	for name, data := range files {
		if _, err := os.Stat(filepath.Join(dst, name)); err == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dst, name), data, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// smallFile is the largest file that is copied; tokenizers have some MB.
const smallFile = 32 << 20

// copySmall copies the files of a folder that are no weights.
func (w writer) copySmall(src, dst string) error {
	list, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o777); err != nil {
		return err
	}
	for _, f := range list {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		ext := filepath.Ext(f.Name())
		if f.IsDir() || ext != ".json" && ext != ".txt" && ext != ".model" ||
			strings.Contains(f.Name(), ".index.") || strings.HasSuffix(f.Name(), ".index.json") {
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
		if err := os.WriteFile(filepath.Join(dst, f.Name()), data, 0o666); err != nil {
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
	return os.WriteFile(path, append(data, '\n'), 0o666)
}
