package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/spf13/cobra"

	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/weights/convert"
	"parley/weights/vocab"
)

func read(files []string) ([]pixels.Picture, error) {
	var out []pixels.Picture
	for _, f := range files {
		m, err := pixels.Read(f)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (a *app) caption() *cobra.Command {
	var f captionFlags
	var k int
	var seed uint64
	c := &cobra.Command{Use: "caption FILE…", Short: "Describe pictures", Args: cobra.MinimumNArgs(1),
		Example: "  parley caption cat.jpg\n  parley caption --beam 3 *.png\n  parley caption -k 10 --json cat.jpg",
		Long:    "Describes each picture: one caption by beam search, several by sampling. JSON: [{\"file\", \"captions\": [{\"text\", \"score\"}], \"error\"}], where a file that could not be read has an error and the others go on; the score is the mean log probability of a word, of beams as transformers' sequences_scores."}
	f.add(c)
	c.Flags().IntVarP(&k, "k", "k", 1, "captions of each picture")
	c.Flags().Uint64Var(&seed, "seed", 0, "of sampling")
	c.RunE = func(cmd *cobra.Command, files []string) error {
		if k < 1 || k > mostK {
			return usage("-k %d: want 1 to %d", k, mostK)
		}
		if err := f.check(); err != nil {
			return err
		}
		m, err := a.captioner()
		if err != nil {
			return err
		}
		defer m.Close()
		f.set(cmd, m, k == 1)
		type caption struct {
			Text  string  `json:"text"`
			Score float64 `json:"score"`
		}
		type entry struct {
			File     string    `json:"file"`
			Captions []caption `json:"captions"`
			Error    string    `json:"error,omitempty"`
		}
		out := []entry{}
		failed := a.each(cmd.Context(), files, func(names []string, pictures []pixels.Picture) error {
			all, err := m.Captions(cmd.Context(), pictures, k, seed)
			if err != nil {
				return err
			}
			for i, list := range all {
				e := entry{File: names[i]}
				for _, c := range list {
					e.Captions = append(e.Captions, caption(c))
					if a.json {
						continue
					}
					if len(files) > 1 {
						fmt.Fprintf(a.out, "%s: ", plain(names[i]))
					}
					fmt.Fprintln(a.out, plain(c.Text))
				}
				out = append(out, e)
			}
			return nil
		}, func(name string, err error) { out = append(out, entry{name, []caption{}, err.Error()}) })
		if a.json {
			return errors.Join(a.print(out), failed)
		}
		return failed
	}
	return c
}

// each hands pictures on in small batches, so that what is done is done when a
// later one fails or the work is stopped. A file that cannot be read is told to
// bad, in its place, and the others go on; its error is in what each returns.
func (a *app) each(ctx context.Context, files []string, batch func(names []string, pictures []pixels.Picture) error, bad func(name string, err error)) error {
	const size = 16
	var failed error
	progress := a.progress("pictures")
	for lo := 0; lo < len(files); lo += size {
		var names []string
		var pictures []pixels.Picture
		flush := func() error {
			if len(names) == 0 {
				return nil
			}
			err := batch(names, pictures)
			names, pictures = nil, nil
			return err
		}
		hi := min(lo+size, len(files))
		for _, f := range files[lo:hi] {
			m, err := pixels.Read(f)
			if err == nil {
				names, pictures = append(names, f), append(pictures, m)
				continue
			}
			if err := flush(); err != nil { // the order of the files stays
				return errors.Join(failed, err)
			}
			bad(f, err)
			failed = errors.Join(failed, err)
		}
		if err := flush(); err != nil {
			return errors.Join(failed, err)
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(failed, err)
		}
		if progress != nil && len(files) > size {
			progress(hi, len(files))
		}
	}
	return failed
}

func (a *app) draw() *cobra.Command {
	var f paintFlags
	var seed uint64
	var k int
	var dir, from string
	var strength float64
	c := &cobra.Command{Use: "draw TEXT…", Short: "Draw texts", Args: cobra.MinimumNArgs(1),
		Example: "  parley draw \"two red apples on the grass\"\n  parley draw -k 4 --steps 20 --out pictures \"a cat\"\n  parley draw --from sketch.png --strength 0.6 \"a dog at night\"",
		Long:    "Draws each text k times, with the seeds seed, seed+1, … JSON: [{\"text\", \"seed\", \"image\"}]."}
	f.add(c)
	c.Flags().Uint64Var(&seed, "seed", 0, "of the first drawing; the same as torch's CPU generator")
	c.Flags().IntVarP(&k, "k", "k", 1, "drawings of each text")
	c.Flags().StringVarP(&dir, "out", "o", "out", "folder of the pictures")
	c.Flags().StringVar(&from, "from", "", "picture to start from")
	c.Flags().Float64Var(&strength, "strength", 0.8, "with --from: how much is drawn anew")
	c.RunE = func(cmd *cobra.Command, lines []string) error {
		if k < 1 || k > mostK {
			return usage("-k %d: want 1 to %d", k, mostK)
		}
		if err := f.check(cmd); err != nil {
			return err
		}
		if !(strength > 0 && strength <= 1) {
			return usage("--strength %v: want more than 0, at most 1", strength)
		}
		p, err := a.painter()
		if err != nil {
			return err
		}
		defer p.Close()
		if err := f.set(cmd, p); err != nil {
			return err
		}
		if from != "" {
			if p.From, err = pixels.Read(from); err != nil {
				return err
			}
			p.Strength = strength
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		type entry struct {
			Text  string `json:"text"`
			Seed  uint64 `json:"seed"`
			Image string `json:"image"`
			Error string `json:"error,omitempty"`
		}
		out := []entry{}
		var texts []string
		var seeds []uint64
		for i, t := range lines {
			for j := range k {
				texts, seeds = append(texts, t), append(seeds, seed+uint64(j))
				out = append(out, entry{t, seed + uint64(j), filepath.Join(dir, fmt.Sprintf("%02d-%02d.png", i, j)), ""})
			}
		}
		p.Progress = a.progress("drawing")
		var failed error
		done := make([]bool, len(out))
		err = p.Paint(cmd.Context(), texts, seeds, func(i int, d models.Painted) {
			var m *pixels.Image
			err := d.Err
			if err == nil {
				m, err = d.Picture.Host()
			}
			if err == nil {
				err = m.SavePNG(out[i].Image)
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%q, seed %d: %w", texts[i], seeds[i], err))
				out[i].Error, out[i].Image = err.Error(), ""
			} else {
				done[i] = true
				if !a.json {
					fmt.Fprintln(a.out, out[i].Image)
					a.show(m)
				}
			}
		})
		if a.json {
			finished := []entry{}
			for i, e := range out {
				if done[i] || e.Error != "" {
					finished = append(finished, e)
				}
			}
			if err := a.print(finished); err != nil {
				return err
			}
		}
		return errors.Join(err, failed)
	}
	return c
}

func (a *app) embed() *cobra.Command {
	var lines []string
	var pooled bool
	c := &cobra.Command{Use: "embed [FILE…] [--text TEXT]…", Short: "Embed pictures and texts with CLIP",
		Example: "  parley embed --json cat.jpg\n  parley embed --json --text \"a cat\" --text \"a dog\"",
		Long:    "Embeddings have length 1. JSON: [{\"file\" or \"text\", \"embedding\", \"error\"}], where a file that could not be read has an error and the others go on."}
	c.Flags().StringArrayVarP(&lines, "text", "t", nil, "text; may be repeated")
	c.Flags().BoolVar(&pooled, "pooled", false, "before the projection, as the paper's authors did")
	c.RunE = func(cmd *cobra.Command, files []string) error {
		files, lines := apart(files, lines)
		if len(files)+len(lines) == 0 {
			return usage("embed: name picture files, or texts with --text")
		}
		j, err := a.judge(pooled)
		if err != nil {
			return err
		}
		defer j.Close()
		type entry struct {
			File      string    `json:"file,omitempty"`
			Text      *string   `json:"text,omitempty"`
			Embedding []float32 `json:"embedding"`
			Error     string    `json:"error,omitempty"`
		}
		out := []entry{}
		failed := a.each(cmd.Context(), files, func(names []string, pictures []pixels.Picture) error {
			m, err := j.Images(cmd.Context(), pictures)
			if err != nil {
				return err
			}
			for i, f := range names {
				out = append(out, entry{File: f, Embedding: row(m.Data().([]float32), len(names), i)})
			}
			return nil
		}, func(name string, err error) {
			out = append(out, entry{File: name, Embedding: []float32{}, Error: err.Error()})
		})
		if len(lines) > 0 && cmd.Context().Err() == nil {
			m, err := j.Texts(cmd.Context(), lines)
			if err != nil {
				return err
			}
			for i := range lines {
				out = append(out, entry{Text: &lines[i], Embedding: row(m.Data().([]float32), len(lines), i)})
			}
		}
		if a.json {
			return errors.Join(a.print(out), failed)
		}
		for _, e := range out {
			name := e.File
			if e.Text != nil {
				name = *e.Text
			}
			if e.Error != "" {
				continue // told at the end
			}
			fmt.Fprintf(a.out, "%s\t%d numbers:", plain(name), len(e.Embedding))
			for _, v := range e.Embedding[:min(4, len(e.Embedding))] {
				fmt.Fprintf(a.out, " %.4f", v)
			}
			fmt.Fprintln(a.out, " … (--json has them all)")
		}
		return failed
	}
	return c
}

// apart tells pictures from texts in `--text A B C`: what follows a text and is no file is text
// too, unless it is named as a picture, whose absence is told when it is read.
func apart(args, texts []string) (files, all []string) {
	all = texts
	for _, a := range args {
		switch strings.ToLower(filepath.Ext(a)) {
		case ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp":
			files = append(files, a)
			continue
		}
		if _, err := os.Stat(a); err != nil && len(texts) > 0 {
			all = append(all, a)
		} else {
			files = append(files, a)
		}
	}
	return files, all
}

func row(data []float32, n, i int) []float32 {
	d := len(data) / n
	return data[i*d : (i+1)*d]
}

func (a *app) score() *cobra.Command {
	var lines []string
	c := &cobra.Command{Use: "score FILE… --text TEXT…", Short: "Hold pictures against texts with CLIP", Args: cobra.MinimumNArgs(1),
		Example: "  parley score cat.jpg dog.jpg --text \"a cat\" --text \"a dog\"",
		Long:    "The cosine of each picture with each text. JSON: {\"files\", \"texts\", \"scores\": [[…]]}, a row for each file."}
	c.Flags().StringArrayVarP(&lines, "text", "t", nil, "text; may be repeated")
	c.RunE = func(cmd *cobra.Command, files []string) error {
		files, lines := apart(files, lines)
		if len(lines) == 0 || len(files) == 0 {
			return usage("score: name picture files, and texts with --text")
		}
		pictures, err := read(files)
		if err != nil {
			return err
		}
		j, err := a.judge(false)
		if err != nil {
			return err
		}
		defer j.Close()
		im, err := j.Images(cmd.Context(), pictures)
		if err != nil {
			return err
		}
		tx, err := j.Texts(cmd.Context(), lines)
		if err != nil {
			return err
		}
		scores := make([][]float64, len(files))
		for i := range files {
			x := row(im.Data().([]float32), len(files), i)
			for k := range lines {
				sum := 0.0
				for d, v := range row(tx.Data().([]float32), len(lines), k) {
					sum += float64(v) * float64(x[d])
				}
				scores[i] = append(scores[i], sum)
			}
		}
		if a.json {
			return a.print(map[string]any{"files": files, "texts": lines, "scores": scores})
		}
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		for _, l := range lines {
			fmt.Fprint(w, "\t"+plain(l))
		}
		fmt.Fprintln(w)
		for i, f := range files {
			fmt.Fprint(w, plain(f))
			for _, v := range scores[i] {
				fmt.Fprintf(w, "\t%.3f", v)
			}
			fmt.Fprintln(w)
		}
		return w.Flush()
	}
	return c
}

func (a *app) tokenize() *cobra.Command {
	var bert, clip bool
	var length int
	c := &cobra.Command{Use: "tokenize --clip|--bert TEXT…", Short: "Show how texts become ids",
		Example: "  parley tokenize --clip \"a cat\"\n  printf 'a cat\\na dog\\n' | parley tokenize --bert --json",
		Long: `Texts are arguments, or lines of the standard input. JSON: [{"text", "ids", "tokens"}].
Without --models the words are OpenAI CLIP's and bert-base-uncased's.`}
	c.Flags().BoolVar(&bert, "bert", false, "BERT's words, of BLIP")
	c.Flags().IntVar(&length, "length", 0, "with --clip: cut or pad to so many ids")
	// Here --clip is a choice; elsewhere it names a model.
	c.Flags().BoolVar(&clip, "clip", false, "CLIP's words")
	c.RunE = func(cmd *cobra.Command, lines []string) error {
		if bert == clip {
			return usage("tokenize: choose --clip or --bert")
		}
		if length < 0 || length == 1 || length > 1<<16 {
			return usage("--length %d: want 0, or 2 and more", length)
		}
		if bert && length > 0 {
			return usage("--length: only with --clip")
		}
		if len(lines) == 0 {
			s := bufio.NewScanner(cmd.InOrStdin())
			s.Buffer(nil, 1<<26)
			for s.Scan() {
				lines = append(lines, s.Text())
			}
			if err := s.Err(); err != nil {
				return err
			}
		}
		type entry struct {
			Text   string   `json:"text"`
			IDs    []int32  `json:"ids"`
			Tokens []string `json:"tokens"`
		}
		out := []entry{}
		if bert {
			t, err := a.bertWords()
			if err != nil {
				return err
			}
			for _, l := range lines {
				out = append(out, entry{l, t.Encode(l), t.Tokens(l)})
			}
		} else {
			t, err := a.clipWords()
			if err != nil {
				return err
			}
			for _, l := range lines {
				out = append(out, entry{l, t.Encode(l, length), t.Tokens(l)})
			}
		}
		if a.json {
			return a.print(out)
		}
		for _, e := range out {
			fmt.Fprintf(a.out, "%q\n  %s\n  %v\n", e.Text, strings.Join(e.Tokens, " "), e.IDs)
		}
		return nil
	}
	return c
}

func (a *app) bertWords() (*vocab.BERT, error) {
	if a.models == "" && a.blip == "" {
		return vocab.DefaultBERT()
	}
	dir := a.blip
	if dir == "" {
		dir = filepath.Join(a.models, "blip")
	}
	return vocab.LoadBERT(os.DirFS(dir), ".")
}

func (a *app) clipWords() (*vocab.CLIP, error) {
	if a.models == "" {
		return vocab.DefaultCLIP(vocab.PadCLIP)
	}
	return vocab.LoadCLIP(os.DirFS(filepath.Join(a.models, "clip")), ".")
}

func (a *app) convert() *cobra.Command {
	var dtype, prediction string
	c := &cobra.Command{Use: "convert SRC DST", Short: "Write a checkpoint in Hugging Face's layout", Args: cobra.ExactArgs(2),
		Example: "  parley convert v1-5-pruned.ckpt sd15 --dtype f16\n  parley convert model_base_caption_capfilt_large.pth blip",
		Long: `Reads a file or folder in any known layout (Hugging Face, ldm single files,
Salesforce's BLIP, OpenAI's CLIP, open_clip; safetensors or torch pickles, which
are never executed) and writes a folder of safetensors with config.json. The
folder appears complete or not at all; the same source gives the same bytes.

A single file of Stable Diffusion 2 does not say whether its UNet predicts v or
noise. v is taken, at 768 pixels, unless the step of its training tells a base
model; --prediction epsilon says that it is one.`}
	addPrediction(c, &prediction)
	c.Flags().StringVar(&dtype, "dtype", "", "f32, f16 or bf16 (each tensor its own)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !strings.Contains(" f32 f16 bf16 ", " "+dtype+" ") && dtype != "" {
			return usage("--dtype %s: want f32, f16 or bf16", dtype)
		}
		if err := checkPrediction(prediction); err != nil {
			return err
		}
		err := convert.Convert(cmd.Context(), args[0], args[1], convert.Options{DType: dtype,
			Assume: convert.Assume{Prediction: prediction}, Note: a.note})
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists already: name a new folder", args[1])
		}
		if err != nil {
			return err
		}
		if a.json {
			return a.print(map[string]string{"source": args[0], "folder": args[1]})
		}
		fmt.Fprintln(a.out, args[1])
		return nil
	}
	return c
}

func (a *app) doctor() *cobra.Command {
	c := &cobra.Command{Use: "doctor", Short: "Say what this machine offers", Args: cobra.NoArgs, Example: "  parley doctor\n  parley doctor --json"}
	c.RunE = func(*cobra.Command, []string) error {
		type model struct {
			Name string `json:"name"`
			Note string `json:"note"`
		}
		// method is what products are made of at a precision of the CPU's.
		type method struct {
			Precision string  `json:"precision"`
			Format    string  `json:"format"`
			Speed     float64 `json:"speed"` // beside f32's, measured in the cache
		}
		cpu := host.NewWith(host.Options{Workers: a.threads})
		report := struct {
			CPU      string   `json:"cpu"`
			Cores    int      `json:"cores"`
			Features []string `json:"features"`
			Kernels  string   `json:"kernels"`
			GFLOPs   float64  `json:"gflops"` // f32 multiply-adds on all threads, measured
			Methods  []method `json:"methods"`
			Free     int      `json:"free_bytes"`
			Devices  []string `json:"devices"`
			GPU      string   `json:"gpu"`
			Models   []model  `json:"models"`
		}{CPU: cpuid.CPU.BrandName, Cores: runtime.GOMAXPROCS(0), Kernels: simd.Active().String(), GFLOPs: matmul.Peak(cpu, 50*time.Millisecond) / 1e9, Free: models.FreeMemory(cpu), Devices: []string{"cpu"}}
		var methods []string
		for p := host.Exact; p <= host.Fast; p++ {
			f := matmul.Gemm(host.NewWith(host.Options{Precision: p})).Format
			m := method{p.String(), f.String(), simd.Speed(f) / simd.Speed(simd.F32)}
			report.Methods = append(report.Methods, m)
			methods = append(methods, fmt.Sprintf("%s: %s (%.1fx)", m.Precision, m.Format, m.Speed))
		}
		_, report.GPU = cuda.Driver()
		gpus, _ := cuda.Devices() // the driver's words say why there are none
		for _, g := range gpus {
			report.Devices = append(report.Devices, g.String())
		}
		for _, f := range []cpuid.FeatureID{cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512BF16, cpuid.AVX512VNNI, cpuid.AVX512FP16, cpuid.AMXBF16} {
			if cpuid.CPU.Supports(f) {
				report.Features = append(report.Features, f.String())
			}
		}
		for _, name := range []string{"blip", "sd", "clip"} {
			m := model{name, "embedded, miniature"}
			own := map[string]string{"blip": a.blip, "sd": a.sd, "clip": a.clip}[name]
			if src, err := a.source(name, own); err != nil {
				m.Note = err.Error()
			} else if !src.IsEmbedded() {
				m.Note = src.String()
			}
			report.Models = append(report.Models, m)
		}
		if a.json {
			return a.print(report)
		}
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		fmt.Fprintf(w, "CPU\t%s, %d threads\nfeatures\t%s\nkernels\t%s, %.0f GFLOP/s of f32 multiply-adds at most\nprecisions\t%s\nmemory\t%.1f GB free\ndevices\t%s\nGPU\t%s\n",
			report.CPU, report.Cores, strings.Join(report.Features, " "), report.Kernels, report.GFLOPs, strings.Join(methods, ", "), float64(report.Free)/1e9, strings.Join(report.Devices, ", "), report.GPU)
		for _, m := range report.Models {
			fmt.Fprintf(w, "%s\t%s\n", m.Name, m.Note)
		}
		return w.Flush()
	}
	return c
}
