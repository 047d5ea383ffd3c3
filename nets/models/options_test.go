package models_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/rgb"
	"parley/nets/decode"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
	"parley/weights/vocab"
)

// scenes are the first n held-out pictures.
func scenes(t *testing.T, n int) (list []pixels.Picture) {
	t.Helper()
	all, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all[:n] {
		m, err := pixels.Decode(bytes.NewReader(s.PNG))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func openSD(t *testing.T) *models.StableDiffusion {
	t.Helper()
	p, err := models.OpenStableDiffusion(models.Embedded("sd"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// TestManyCaptionsOfAPicture: beyond 256 captions they are written in several
// batches, with random numbers that go on: the first ones are those of fewer
// captions, and the later ones are no repetition.
func TestManyCaptionsOfAPicture(t *testing.T) {
	c, err := models.OpenBLIP(models.Embedded("blip"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	o := models.CaptionOptions{Options: decode.Options{Sample: true, Temperature: 2, MaxLength: 6}}
	run := engine.NewRun(t.Context())
	pictures := scenes(t, 3)
	one, err := c.Caption(run, pictures[:1], 270, []uint64{4}, o)
	if err != nil {
		t.Fatal(err)
	}
	all := one[0]
	if len(all) != 270 || slices.Equal(all[256:], all[:14]) {
		t.Errorf("%d captions; those of the second batch: %v, of the first: %v", len(all), all[256:], all[:14])
	}
	// Three pictures have batches of 85.
	three, err := c.Caption(run, pictures, 90, []uint64{4, 4, 5}, o)
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b []rerank.Caption) bool {
		return slices.EqualFunc(a, b, func(a, b rerank.Caption) bool { return a.Text == b.Text && math.Abs(a.Score-b.Score) < 1e-4 })
	}
	if !same(three[0], all[:90]) {
		t.Errorf("the first 90 of 270 are not those of 90: %v, %v", all[:90], three[0])
	}
	for _, other := range three[1:] {
		if len(other) != 90 || same(other, three[0]) || same(other[85:], other[:5]) {
			t.Errorf("captions of another picture: %v", other)
		}
	}
	// 17 pictures are described in two batches, each from its own seed.
	var many []pixels.Picture
	seeds := make([]uint64, 17)
	for i := range seeds {
		many, seeds[i] = append(many, pictures[i%3]), uint64(i/3)
	}
	lists, err := c.Caption(run, many, 3, seeds, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 15, 16} {
		own, err := c.Caption(run, many[i:i+1], 3, seeds[i:i+1], o)
		if err != nil || !same(lists[i], own[0]) {
			t.Errorf("picture %d among 17: %v; alone: %v, %v", i, lists[i], own, err)
		}
	}
	if _, err := c.Caption(run, pictures, 1, []uint64{1}, o); err == nil {
		t.Error("one seed was taken for three pictures")
	}
}

// TestCaptionWithoutItsPrompt: what a caption begins with is the model's to read
// and not the caption's to say, however it is written.
func TestCaptionWithoutItsPrompt(t *testing.T) {
	c, err := models.OpenBLIP(models.Embedded("blip"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run := engine.NewRun(t.Context())
	pictures := scenes(t, 4)
	captions := func(o models.CaptionOptions) string {
		lists, err := c.Caption(run, pictures, 1, make([]uint64, len(pictures)), o)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, l := range lists {
			text := l[0].Text
			if text == "" || text != strings.TrimSpace(text) || o.Prompt != "" && strings.HasPrefix(text, strings.TrimSpace(o.Prompt)) {
				t.Errorf("prompt %q: caption %q", o.Prompt, text)
			}
			out = append(out, text)
		}
		return strings.Join(out, "\n")
	}
	for name, o := range map[string]models.CaptionOptions{"nucleus": models.Nucleus(), "beam": models.Beam()} {
		plain := captions(o)
		o.Prompt = "two cats and"
		if other := captions(o); other == plain {
			t.Errorf("%s: the prompt changes nothing: %s", name, other)
		}
		// Of a prompt that is an earlier caption's beginning, the caption is the rest.
		if name == "beam" {
			begun := models.Beam()
			first, rest, _ := strings.Cut(strings.Split(plain, "\n")[0], " ")
			begun.Prompt += first
			if got := strings.Split(captions(begun), "\n")[0]; got != rest {
				t.Errorf("behind %q: %q, want %q", begun.Prompt, got, rest)
			}
		}
	}
}

// TestCaptionAsGenerated: a caption is what the net writes behind [DEC] and the
// prompt's words, of the picture as its preprocessor makes it, with the net's own
// end and the score of what was written.
func TestCaptionAsGenerated(t *testing.T) {
	dev := host.New(2)
	c, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	process, err := pixels.ReadProcessor(mini.FS(), "blip", nil)
	if err != nil {
		t.Fatal(err)
	}
	words, err := vocab.LoadBERT(mini.FS(), "blip")
	if err != nil {
		t.Fatal(err)
	}
	run := engine.NewRun(t.Context()).On(dev)
	for _, o := range []models.CaptionOptions{models.Beam(), models.Nucleus(),
		{Prompt: "two", Options: decode.Options{MaxLength: 12}}, {Options: decode.Options{MaxLength: 9}}} {
		for i, picture := range scenes(t, 3) {
			have, err := c.Caption(run, []pixels.Picture{picture}, 1, []uint64{uint64(i)}, o)
			if err != nil {
				t.Fatal(err)
			}
			s := run.Stream()
			x, err := process.Apply(s, []pixels.Picture{picture})
			if err != nil {
				t.Fatal(err)
			}
			hidden, err := c.Net.Vision.Forward(s, x)
			if err != nil {
				t.Fatal(err)
			}
			all := words.Encode(o.Prompt)
			prompt := append([]int32{c.Net.Text.BOS}, all[1:len(all)-1]...)
			cache, err := c.Net.Text.Start(s, hidden, o.Rows(1), o.MaxLength)
			if err != nil {
				t.Fatal(err)
			}
			g := o.Options
			g.EOS, g.Pad, g.Seed = c.Net.Text.Sep, c.Net.Text.PadID, uint64(i)
			want, err := decode.Generate(s, cache, [][]int32{prompt}, g)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.TrimSpace(words.Decode(want[0].IDs[len(prompt):]))
			if have[0][0].Text != text || math.Abs(have[0][0].Score-want[0].Score) > 1e-6 {
				t.Errorf("prompt %q, picture %d: %+v, want %q of %v", o.Prompt, i, have[0][0], text, want[0].Score)
			}
			cache.Free(s)
			s.Close()
		}
	}
}

// TestBestBeams: k captions of beam search are its k best, and the best of them is
// that of as many beams alone.
func TestBestBeams(t *testing.T) {
	c, err := models.OpenBLIP(models.Embedded("blip"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run := engine.NewRun(t.Context())
	pictures := scenes(t, 2)
	o := models.Beam()
	o.Beams = 5
	one, err := c.Caption(run, pictures, 1, make([]uint64, 2), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Beams = 0 // as many as captions
	five, err := c.Caption(run, pictures, 5, make([]uint64, 2), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range pictures {
		if len(one[i]) != 1 || len(five[i]) != 5 || five[i][0] != one[i][0] {
			t.Errorf("picture %d: five beams give %v, the best is %v", i, five[i], one[i])
		}
	}
}

// TestDrawnAsPlanned: Draw gives, to the bit, what the pipeline gives for each
// text alone with its own seed and the negative prompt.
func TestDrawnAsPlanned(t *testing.T) {
	p := openSD(t)
	run := engine.NewRun(t.Context()).On(host.New(2))
	texts, seeds := []string{"a cat", "a cat", "two dogs on the grass"}, []uint64{7, 8, 7}
	o := p.Defaults
	o.Width, o.Height, o.Steps, o.Guidance = 16, 16, 3, 6
	seen := map[string]bool{}
	for _, negative := range []string{"", "a red apple"} {
		o.Negative = negative
		var have []*pixels.Image
		if err := p.Draw(run, texts, seeds, o, func(i int, d rerank.Drawing) {
			if i != len(have) || d.Err != nil || d.Time <= 0 {
				t.Fatalf("drawing %d comes as number %d: %+v", i, len(have), d)
			}
			m, err := d.Picture.Host()
			if err != nil {
				t.Fatal(err)
			}
			have = append(have, m)
		}); err != nil {
			t.Fatal(err)
		}
		plan, err := p.Pipeline.Plan(o.Options)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range texts {
			s := run.Stream()
			z, _, err := plan.Latents(s, diffusion.Batch{IDs: p.Encode([]string{text}), Negative: p.Encode([]string{negative}),
				Noise: diffusion.OneGenerator(seeds[i])})
			if err != nil {
				t.Fatal(err)
			}
			x, err := p.Pipeline.Decode(s, z)
			if err != nil {
				t.Fatal(err)
			}
			want := rgb.Bytes(s, x).U8()
			if !bytes.Equal(have[i].Pix, want) {
				t.Errorf("negative %q: drawing %d of %q with seed %d is not the pipeline's", negative, i, text, seeds[i])
			}
			if seen[string(want)] {
				t.Errorf("negative %q: drawing %d is like another", negative, i)
			}
			seen[string(want)] = true
			s.Close()
		}
	}
	if err := p.Draw(run, texts, seeds[:2], o, nil); err == nil {
		t.Error("two seeds were taken for three texts")
	}
	// The painter of the reconstructions draws with its own options.
	var painted []*pixels.Image
	if err := p.Painter(o).Draw(run, texts[:1], seeds[:1], func(_ int, d rerank.Drawing) {
		m, err := d.Picture.Host()
		if err != nil {
			t.Fatal(err)
		}
		painted = append(painted, m)
	}); err != nil || len(painted) != 1 || !seen[string(painted[0].Pix)] {
		t.Errorf("the painter draws otherwise: %v", err)
	}
}

// TestDrawTogether: a batch of one generator, as diffusers draws it: the second
// picture's noise is the numbers behind the first's.
func TestDrawTogether(t *testing.T) {
	p := openSD(t)
	run := engine.NewRun(t.Context())
	o := p.Defaults
	o.Width, o.Height, o.Steps = 16, 16, 2
	two, err := p.DrawTogether(run, []string{"a cat", "a cat"}, 3, o)
	if err != nil {
		t.Fatal(err)
	}
	one, err := p.DrawTogether(run, []string{"a cat"}, 3, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(two) != 2 || bytes.Equal(two[0].Pix, two[1].Pix) || !bytes.Equal(two[0].Pix, one[0].Pix) {
		t.Errorf("%d pictures; the first is that of one alone: %v", len(two), bytes.Equal(two[0].Pix, one[0].Pix))
	}
	o.Negative = "a dog"
	if other, err := p.DrawTogether(run, []string{"a cat"}, 3, o); err != nil || bytes.Equal(other[0].Pix, one[0].Pix) {
		t.Errorf("the negative prompt changes nothing: %v", err)
	}
}

// TestBatchFitsMemory: a batch is as large as memory allows and no larger: what it
// takes at its peak is below the bound, and one drawing more would be above.
func TestBatchFitsMemory(t *testing.T) {
	p := openSD(t)
	dev := host.New(2)
	run := engine.NewRun(t.Context()).On(dev)
	texts := []string{"a cat", "a dog", "a hat", "a tree", "a car"}
	seeds := []uint64{1, 2, 3, 4, 5}
	o := p.Defaults
	o.Width, o.Height, o.Steps = 16, 16, 2
	plan, err := p.Pipeline.Plan(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	need := make([]int, 6) // of so many drawings: the smallest bound that takes them
	for n := 1; n < len(need); n++ {
		lo, hi := 0, 1<<32
		for hi-lo > 1 {
			mid := (lo + hi) / 2
			if k, err := plan.Batch(dev, 5, mid); err == nil && k >= n {
				hi = mid
			} else {
				lo = mid
			}
		}
		need[n] = hi
		s := run.Stream()
		z, _, err := plan.Latents(s, diffusion.Batch{IDs: p.Encode(texts[:n]), Negative: p.Encode(make([]string, n)),
			Noise: diffusion.Generators(seeds[:n])})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Pipeline.Decode(s, z); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d drawings: bound %d, peak %d", n, need[n], s.Peak())
		if s.Peak() > need[n] || need[n] > 3*s.Peak() {
			t.Errorf("%d drawings take %d bytes at their peak and are allowed in %d", n, s.Peak(), need[n])
		}
		s.Close()
		if n > 1 && need[n] <= need[n-1] {
			t.Errorf("%d drawings need %d bytes, %d need %d", n, need[n], n-1, need[n-1])
		}
	}
	var first []string
	for n := 1; n < len(need); n++ {
		bounded := run
		bounded.Memory = need[n]
		pictures := make([]string, len(texts))
		var sizes []int
		var numbers []int
		o.Step = func(st diffusion.Step) ([]int, error) {
			if st.Index == 0 {
				sizes = append(sizes, len(st.Samples))
				numbers = append(numbers, st.Samples...)
			}
			return nil, nil
		}
		var done, total, handed int
		o.Progress = func(d, all int) {
			if d != done+1 {
				t.Errorf("progress %d behind %d", d, done)
			}
			done, total = d, all
		}
		if err := p.Draw(bounded, texts, seeds, o, func(i int, d rerank.Drawing) {
			m, err := d.Picture.Host()
			if err != nil {
				t.Fatal(err)
			}
			handed++
			pictures[i] = string(m.Pix)
		}); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = pictures
		}
		for i, p := range pictures {
			worst := 0
			for j := range len(p) {
				worst = max(worst, int(p[j])-int(first[i][j]), int(first[i][j])-int(p[j]))
			}
			if worst > 1 { // products of other sizes round otherwise
				t.Errorf("drawing %d in batches of %d is not that of batches of one: bytes differ by up to %d", i, n, worst)
			}
		}
		var want []int
		for left := 5; left > 0; left -= n {
			want = append(want, min(n, left))
		}
		if !slices.Equal(sizes, want) || fmt.Sprint(numbers) != "[0 1 2 3 4]" || handed != 5 {
			t.Errorf("in %d bytes: batches of %v, want %v; samples %v, %d handed on", need[n], sizes, want, numbers, handed)
		}
		if done != total || done != plan.Steps()*len(want) {
			t.Errorf("%d of %d steps are told, there are %d", done, total, plan.Steps()*len(want))
		}
	}
	bounded := run
	bounded.Memory = need[1] - 1
	if err := p.Draw(bounded, texts, seeds, o, nil); err == nil || !strings.Contains(err.Error(), "a drawing of 16 x 16 pixels needs") {
		t.Errorf("in too little memory: %v", err)
	}
}

// TestDecoderFitsMemory: of a picture whose decoding takes more than its steps, the
// bound is that of the decoder.
func TestDecoderFitsMemory(t *testing.T) {
	p := openSD(t)
	dev := host.New(2)
	o := p.Defaults.Options
	o.Width, o.Height, o.Steps, o.Guidance = 96, 64, 1, 1
	plan, err := p.Pipeline.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	s := engine.NewRun(t.Context()).On(dev).Stream()
	defer s.Close()
	z, _, err := plan.Latents(s, diffusion.Batch{IDs: p.Encode([]string{"a cat"}), Noise: diffusion.OneGenerator(1)})
	if err != nil {
		t.Fatal(err)
	}
	steps := s.Peak()
	if _, err := p.Pipeline.Decode(s, z); err != nil {
		t.Fatal(err)
	}
	if s.Peak() <= steps {
		t.Fatalf("decoding takes %d bytes, the steps %d", s.Peak(), steps)
	}
	if n, err := plan.Batch(dev, 1, s.Peak()-1); err == nil {
		t.Errorf("%d drawings are allowed in less than the %d bytes that one takes", n, s.Peak())
	}
	if _, err := plan.Batch(dev, 1, 2*s.Peak()); err != nil {
		t.Errorf("in twice what it takes: %v", err)
	}
}

// TestEndedDrawings: what a callback ends is not handed on.
func TestEndedDrawings(t *testing.T) {
	p := openSD(t)
	o := p.Defaults
	o.Width, o.Height, o.Steps = 16, 16, 3
	o.Step = func(st diffusion.Step) (keep []int, _ error) {
		for row, n := range st.Samples {
			if n != 1 {
				keep = append(keep, row)
			}
		}
		return keep, nil
	}
	var handed []int
	if err := p.Draw(engine.NewRun(t.Context()), []string{"a cat", "a dog", "a hat"}, []uint64{1, 2, 3}, o,
		func(i int, _ rerank.Drawing) { handed = append(handed, i) }); err != nil || !slices.Equal(handed, []int{0, 2}) {
		t.Errorf("drawings %v are handed on, want 0 and 2; %v", handed, err)
	}
}

// TestJudgeTakesItsOptions: what a judge says is what the model says with the
// judge's options, pooled or not, of pictures and of texts.
func TestJudgeTakesItsOptions(t *testing.T) {
	c, err := models.OpenCLIP(models.Embedded("clip"), host.New(2))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run := engine.NewRun(t.Context())
	pictures, texts := scenes(t, 3), []string{"a cat", "two dogs on the grass"}
	rows := func(x *tensor.Dense, err error) []float32 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x.Data().([]float32)
	}
	numbers := func(x []float64, err error) []float64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	var before []float32
	for _, o := range []models.EmbedOptions{{}, {Pooled: true}} {
		j := c.Judge(o)
		images, words := rows(j.EmbedImages(run, pictures)), rows(j.EmbedTexts(run, texts))
		if !slices.Equal(images, rows(c.EmbedImages(run, pictures, o))) || !slices.Equal(words, rows(c.EmbedTexts(run, texts, o))) {
			t.Errorf("%+v: the judge embeds otherwise", o)
		}
		if len(images) == len(before) {
			t.Errorf("%+v: embeddings of %d numbers, as without", o, len(images)/3)
		}
		before = images
		for what, x := range map[string][]float32{"picture": images[:len(images)/3], "text": words[:len(words)/2]} {
			sum := 0.0
			for _, v := range x {
				sum += float64(v) * float64(v)
			}
			if math.Abs(sum-1) > 1e-5 {
				t.Errorf("%+v: a %s's embedding has the length %v", o, what, math.Sqrt(sum))
			}
		}
		// Cosines with the second picture, and with the second text.
		near := func(what string, have []float64, all []float32, n int) {
			d := len(all) / n
			for i, v := range have {
				want := 0.0
				for k := range d {
					want += float64(all[d+k]) * float64(all[i*d+k])
				}
				if len(have) != n || math.Abs(v-want) > 1e-5 {
					t.Errorf("%+v: the score of %s %d is %v, want %v", o, what, i, v, want)
				}
			}
		}
		source := func(all []float32, n int) *tensor.Dense {
			d := len(all) / n
			return tensor.New(tensor.WithShape(1, d), tensor.WithBacking(slices.Clone(all[d:2*d])))
		}
		near("picture", numbers(j.ScoreImages(run, source(images, 3), pictures)), images, 3)
		near("text", numbers(j.ScoreTexts(run, source(words, 2), texts)), words, 2)
	}
}

// TestDefaults: the paper's ways to captions, and what a checkpoint is drawn with.
func TestDefaults(t *testing.T) {
	if o := models.Nucleus(); !o.Sample || o.TopP != 0.9 || o.RepetitionPenalty != 1.1 || o.MinLength != 5 || o.MaxLength != 20 ||
		o.TopK != 0 || o.Temperature != 0 || o.Beams != 0 || o.Prompt != "a picture of " {
		t.Errorf("nucleus: %+v", o)
	}
	if o := models.Beam(); o.Sample || o.Beams != 3 || o.MinLength != 5 || o.MaxLength != 20 || o.EarlyStopping || o.RepetitionPenalty != 0 ||
		o.LengthPenalty != 0 || o.NoLengthPenalty || o.Prompt != "a picture of " {
		t.Errorf("beam: %+v", o)
	}
	p, err := models.OpenStableDiffusion(at(t, "testdata/sd"), host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	if o, want := p.Defaults, 8*p.VAE.Factor; o.Steps != 50 || o.Guidance != 7.5 || o.Width != want || o.Height != want || o.Scheduler != "" {
		t.Errorf("a checkpoint is drawn with %+v", o)
	}
	p.Close()
	// A UNet of pictures that are no squares says its height first.
	dir := filepath.Join(t.TempDir(), "sd")
	if err := os.CopyFS(dir, os.DirFS("testdata/sd")); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "unet", "config.json")
	data, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, bytes.Replace(data, []byte(`"sample_size": 8`), []byte(`"sample_size": [8, 16]`), 1), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p, err = models.OpenStableDiffusion(at(t, dir), host.New(1)); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if o := p.Defaults; o.Height != 8*p.VAE.Factor || o.Width != 16*p.VAE.Factor {
		t.Errorf("latents of 8 rows of 16 make pictures %d wide, %d high", o.Width, o.Height)
	}
}

// TestCosines: a row for each of the first, a column for each of the second.
func TestCosines(t *testing.T) {
	rows := func(n int, v ...float32) *tensor.Dense {
		return tensor.New(tensor.WithShape(n, 2), tensor.WithBacking(v))
	}
	have := models.Cosines(rows(3, 1, 0, 0, 1, 0.6, 0.8), rows(2, 0.8, 0.6, -1, 0))
	want := [][]float64{{0.8, -1}, {0.6, 0}, {0.96, -0.6}}
	if len(have) != 3 {
		t.Fatalf("%d rows", len(have))
	}
	for i, row := range want {
		for j, w := range row {
			if len(have[i]) != 2 || math.Abs(have[i][j]-w) > 1e-6 {
				t.Errorf("row %d: %v, want %v", i, have[i], row)
			}
		}
	}
}
