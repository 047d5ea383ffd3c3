package decode_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/sampling"
	"parley/nets/blip"
	"parley/nets/decode"
	"parley/nets/models"
	"parley/weights"
	"parley/weights/mini"
)

type goldens struct {
	Generate []struct {
		Model             string
		Seed              int
		Beams             int
		LengthPenalty     float64 `json:"length_penalty"`
		Early             bool
		RepetitionPenalty float64 `json:"repetition_penalty"`
		Min, Max, Keep    int
		Prompt, Sequences [][]int32
		Scores            []float64
	}
	Warp []struct {
		TopP              float64 `json:"top_p"`
		TopK              int     `json:"top_k"`
		Temperature       float64
		RepetitionPenalty float64 `json:"repetition_penalty"`
		Min               int
		IDs               []int32
		Scores            []float32
		Probabilities     []float64
	}
}

func read(t *testing.T) (g goldens) {
	f, err := os.Open("testdata/goldens.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&g); err != nil {
		t.Fatal(err)
	}
	if len(g.Generate) < 100 || len(g.Warp) < 100 {
		t.Fatalf("%d runs, %d distributions", len(g.Generate), len(g.Warp))
	}
	return g
}

func load(t *testing.T, dev engine.Device, fsys fs.FS, dir string) *blip.Model {
	set, err := weights.OpenFS(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	cfg, err := weights.ReadConfig(fsys, dir+"/config.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := blip.Load(cfg, set.Loader(dev))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// pictures is what testdata/goldens.py shows the models.
func pictures(n, size, seed int) *engine.Tensor {
	x := make([]float32, n*size*size*3)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)*(0.01+0.003*float64(seed)) + float64(seed)))
	}
	return engine.FromF32(x, n, size, size, 3)
}

func TestGenerateAsTransformers(t *testing.T) {
	testGenerate(t, host.New(2), func(int, string) bool { return true })
}

// testGenerate compares the runs that are chosen, by number and model, with
// transformers'.
func testGenerate(t *testing.T, dev engine.Device, choose func(i int, model string) bool) {
	models := map[string]*blip.Model{"mini": load(t, dev, mini.FS(), "blip")}
	for i, g := range read(t).Generate {
		if !choose(i, g.Model) {
			continue
		}
		m := models[g.Model]
		if m == nil {
			m = load(t, dev, os.DirFS("../testdata"), g.Model)
			models[g.Model] = m
		}
		s := engine.NewStream(context.Background(), dev)
		v, err := m.Vision.Forward(s, s.Put(pictures(len(g.Prompt), m.Vision.Size(), g.Seed)))
		if err != nil {
			t.Fatal(err)
		}
		o := decode.Options{Beams: g.Beams, Keep: g.Keep, LengthPenalty: g.LengthPenalty, NoLengthPenalty: g.LengthPenalty == 0,
			EarlyStopping:     g.Early,
			RepetitionPenalty: g.RepetitionPenalty, MinLength: g.Min, MaxLength: g.Max, EOS: m.Text.Sep, Pad: m.Text.PadID}
		c, err := m.Text.Start(s, v, o.Rows(len(g.Prompt)), g.Max)
		if err != nil {
			t.Fatal(err)
		}
		texts, err := decode.Generate(s, c, g.Prompt, o)
		if err != nil {
			t.Fatal(err)
		}
		c.Free(s)
		s.Close()
		for j, want := range g.Sequences {
			got := texts[j].IDs
			// transformers fills shorter rows up.
			for len(got) < len(want) {
				if fill := want[len(got)]; fill != m.Text.Sep && fill != m.Text.PadID {
					break
				}
				got = append(got, want[len(got)])
			}
			if !slices.Equal(got, want) {
				t.Errorf("run %d %s beams %d length penalty %v early %v repetition %v min %d max %d row %d: have %v, want %v",
					i, g.Model, g.Beams, g.LengthPenalty, g.Early, g.RepetitionPenalty, g.Min, g.Max, j, got, want)
			} else if g.Scores != nil && math.Abs(texts[j].Score-g.Scores[j]) > 1e-4*(1+math.Abs(g.Scores[j])) {
				t.Errorf("run %d row %d: score %v, want %v", i, j, texts[j].Score, g.Scores[j])
			}
		}
	}
}

// TestGoldensCoverTheDefaults: captions of the default length that end by themselves,
// at the shortest length that is allowed and behind it, and that do not end.
func TestGoldensCoverTheDefaults(t *testing.T) {
	count := map[string]int{}
	for _, g := range read(t).Generate {
		if g.Max != models.Nucleus().MaxLength {
			continue
		}
		for _, ids := range g.Sequences {
			end := slices.Index(ids, 3) // the miniature's [SEP]
			switch {
			case end < 0:
				count["endless"]++
			case end == g.Min:
				count["shortest"]++
			case end == g.Max-1:
				count["longest"]++
			default:
				count["between"]++
			}
			if g.Early {
				count["early"]++
			}
		}
		if g.Keep > 1 {
			count["kept"]++
		}
	}
	for what, least := range map[string]int{"endless": 50, "shortest": 10, "longest": 5, "between": 60, "early": 60, "kept": 15} {
		if count[what] < least {
			t.Errorf("%d rows of %q, want %d", count[what], what, least)
		}
	}
	t.Log(count)
}

// fixed is a model whose scores never change.
type fixed struct{ scores []float32 }

func (f fixed) Next(s *engine.Stream, ids [][]int32) (*engine.Tensor, error) {
	var all []float32
	for range ids {
		all = append(all, f.scores...)
	}
	return engine.FromF32(all, len(ids), len(f.scores)), nil
}
func (fixed) Reorder(*engine.Stream, []int32) {}

// TestSampling draws from known distributions and counts.
func TestSampling(t *testing.T) {
	const draws = 4000
	for i, g := range read(t).Warp {
		s := engine.NewStream(context.Background(), host.New(1))
		prompts := make([][]int32, draws)
		for j := range prompts {
			prompts[j] = g.IDs
		}
		o := decode.Options{Sample: true, TopP: g.TopP, TopK: g.TopK, Temperature: g.Temperature, RepetitionPenalty: g.RepetitionPenalty,
			MinLength: g.Min, MaxLength: max(len(g.IDs)+1, g.Min), Seed: uint64(i), EOS: 3}
		texts, err := decode.Generate(s, fixed{g.Scores}, prompts, o)
		if err != nil {
			t.Fatal(err)
		}
		count := make([]float64, len(g.Scores))
		for _, x := range texts {
			count[x.IDs[len(g.IDs)]]++
		}
		for id, p := range g.Probabilities {
			// Five standard deviations, or nothing at all.
			if d := math.Abs(count[id]/draws - p); d > 5*math.Sqrt(p*(1-p)/draws) {
				t.Errorf("case %d top p %v top k %d temperature %v: token %d drawn %v of %d times, its probability is %v",
					i, g.TopP, g.TopK, g.Temperature, id, count[id], draws, p)
			}
		}
	}
}

// TestRandomNumbersGoOn: the n-th token of a row is drawn with the n-th number of
// its subsequence of its seed's numbers, whatever its neighbours' seeds are.
func TestRandomNumbersGoOn(t *testing.T) {
	s := engine.NewStream(context.Background(), host.New(1))
	const steps = 6
	prompts := [][]int32{{1, 2}, {1, 2}, {1, 2}, {1, 2}}
	o := decode.Options{Sample: true, MaxLength: 2 + steps, Seed: 5, EOS: -1}
	model := fixed{make([]float32, 1000)}
	for _, c := range []struct {
		seeds        []uint64
		subsequences []int
	}{{nil, nil}, {nil, []int{9, 0, 300, 9}}, {[]uint64{5, 5, 6, 5}, nil}, {[]uint64{8, 7, 7, 7}, []int{1, 1, 2, 1}}} {
		o.Seeds, o.Subsequences = c.seeds, c.subsequences
		texts, err := decode.Generate(s, model, prompts, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range texts {
			seed, subsequence := o.Seed, i
			if c.seeds != nil {
				seed = c.seeds[i]
			}
			if c.subsequences != nil {
				subsequence = c.subsequences[i]
			}
			var want []int32
			for n := range steps {
				logits, err := model.Next(s, prompts[:1])
				if err != nil {
					t.Fatal(err)
				}
				tokens, err := sampling.Tokens(s, logits, prompts[:1], sampling.Options{Sample: true, Seed: seed,
					Subsequences: []uint64{uint64(subsequence)}, Offset: uint64(n)})
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, tokens[0].ID)
			}
			if have := x.IDs[2:]; !slices.Equal(have, want) {
				t.Errorf("seeds %v, subsequences %v: row %d is %v, want %v", c.seeds, c.subsequences, i, have, want)
			}
			if len(slices.Compact(slices.Clone(want))) < steps-1 {
				t.Errorf("row %d repeats a number: %v", i, want)
			}
		}
	}
}

// TestScoreOfATokenOnAverage: without beams a text's score is the mean log
// probability of its tokens, EOS included, by the model itself.
func TestScoreOfATokenOnAverage(t *testing.T) {
	s := engine.NewStream(context.Background(), host.New(1))
	scores := []float32{2, 1, 0, -1}
	sum := 0.0
	for _, v := range scores {
		sum += math.Exp(float64(v))
	}
	for _, o := range []decode.Options{{}, {RepetitionPenalty: 1.5}, {Sample: true, TopP: 0.7, Temperature: 0.8, Seed: 3}, {MinLength: 4}} {
		o.MaxLength, o.EOS = 7, 1
		texts, err := decode.Generate(s, fixed{scores}, [][]int32{{2}, {3}}, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range texts {
			want := 0.0
			for _, id := range x.IDs[1:] {
				want += (float64(scores[id]) - math.Log(sum)) / float64(len(x.IDs)-1)
			}
			if math.Abs(x.Score-want) > 1e-5 {
				t.Errorf("%+v: row %d, %v, has the score %v, want %v", o, i, x.IDs, x.Score, want)
			}
		}
	}
}

func TestSeedsAndSubsequences(t *testing.T) {
	m := load(t, host.New(2), mini.FS(), "blip")
	captions := func(seed uint64, subsequences []int) (out []string) {
		s := engine.NewStream(context.Background(), host.New(2))
		v, err := m.Vision.Forward(s, s.Put(pictures(1, m.Vision.Size(), 3)))
		if err != nil {
			t.Fatal(err)
		}
		var prompts [][]int32
		for range subsequences {
			prompts = append(prompts, []int32{m.Text.BOS, 5})
		}
		c, err := m.Text.Start(s, v, len(subsequences), 12)
		if err != nil {
			t.Fatal(err)
		}
		texts, err := decode.Generate(s, c, prompts, decode.Options{Sample: true, TopP: 0.95, MaxLength: 12,
			Seed: seed, Subsequences: subsequences, EOS: m.Text.Sep, Pad: m.Text.PadID})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range texts {
			b, _ := json.Marshal(x.IDs)
			out = append(out, string(b))
		}
		return out
	}
	all := captions(1, []int{0, 1, 2, 3, 4})
	if again := captions(1, []int{0, 1, 2, 3, 4}); !slices.Equal(all, again) {
		t.Errorf("the same seed gives %v and %v", all, again)
	}
	if part := captions(1, []int{3, 1}); part[0] != all[3] || part[1] != all[1] {
		t.Errorf("subsequences 3 and 1 alone give %v, among five %v", part, all)
	}
	if other := captions(2, []int{0, 1, 2, 3, 4}); slices.Equal(all, other) {
		t.Errorf("seeds 1 and 2 both give %v", all)
	}
}

func TestRefusals(t *testing.T) {
	p := [][]int32{{1, 2, 3}}
	for _, c := range []struct {
		name    string
		prompts [][]int32
		o       decode.Options
		want    string
	}{
		{"no rows", nil, decode.Options{MaxLength: 9}, "no rows"},
		{"no room", p, decode.Options{MaxLength: 3}, "max length 3"},
		{"min above max", p, decode.Options{MaxLength: 9, MinLength: 10}, "min length 10"},
		{"top p", p, decode.Options{MaxLength: 9, TopP: 1.5}, "top p 1.5"},
		{"both", p, decode.Options{MaxLength: 9, Sample: true, Beams: 2}, "exclude"},
		{"ragged", [][]int32{{1, 2}, {1}}, decode.Options{MaxLength: 9}, "prompt 1"},
	} {
		s := engine.NewStream(context.Background(), host.New(1))
		if _, err := decode.Generate(s, fixed{make([]float32, 9)}, c.prompts, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}
