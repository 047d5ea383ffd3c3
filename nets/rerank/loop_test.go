package rerank_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// calls are toys that keep what they were asked.
type calls struct {
	toys
	seeds    []uint64 // of captions
	paths    []string
	pictures []uint8 // that were described, by their brightness
	drawn    []uint64
	stop     func(drawn int) error
	embedded int
	scored   int
}

func (c *calls) Caption(run engine.Run, ps []pixels.Picture, k int, seeds []uint64) ([][]rerank.Caption, error) {
	c.seeds, c.paths = append(c.seeds, seeds...), append(c.paths, run.Path)
	for _, p := range ps {
		m, err := p.Host()
		if err != nil {
			return nil, err
		}
		c.pictures = append(c.pictures, m.Pix[0])
	}
	return c.toys.Caption(run, ps, k, seeds)
}

func (c *calls) Draw(run engine.Run, texts []string, seeds []uint64, each func(int, rerank.Drawing)) error {
	c.paths = append(c.paths, run.Path)
	for i := range texts {
		if c.stop != nil {
			if err := c.stop(i); err != nil {
				return err
			}
		}
		c.drawn = append(c.drawn, seeds[i])
		err := c.toys.Draw(run, texts[i:i+1], seeds[i:i+1], func(_ int, d rerank.Drawing) {
			d.Time = time.Second
			each(i, d)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *calls) EmbedImages(run engine.Run, ps []pixels.Picture) (*tensor.Dense, error) {
	c.embedded, c.paths = c.embedded+1, append(c.paths, run.Path)
	return c.toys.EmbedImages(run, ps)
}

func (c *calls) ScoreImages(run engine.Run, source *tensor.Dense, ps []pixels.Picture) ([]float64, error) {
	c.scored++
	return c.toys.ScoreImages(run, source, ps)
}

// TestTies: of equal scores the candidate that was made first is the better one,
// and ranks are all different.
func TestTies(t *testing.T) {
	// Seeds 0 to 4 make 20, 21, 22, 23, 24 of them: all are 30.
	toy := &toys{captions: []string{"30", "29", "28", "27", "90"}}
	l := rerank.Loop{Captioner: toy, Painter: toy, Judge: toy, K: 5}
	r, err := l.One(background, rerank.Source{Name: "x", Picture: grey(30)})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range r.Candidates {
		if c.Rank != i+1 {
			t.Errorf("candidate %d has rank %d", i, c.Rank)
		}
	}
	if ranked := r.Ranked(); r.Selected != 0 || ranked[0].Text != "30" || ranked[4].Text != "90" {
		t.Errorf("selected %d, ranked %+v", r.Selected, ranked)
	}
	if r.Candidates[0].Text != "30" {
		t.Error("ranking has moved the candidates")
	}
	// Of two drawings of a caption that are alike, those of seeds i and 7+i, the first
	// counts.
	toy.captions = []string{"1", "2", "3", "4", "5", "6", "7"}
	l.K, l.Drawings = 7, 2
	if r, err = l.One(background, rerank.Source{Name: "x", Picture: grey(30)}); err != nil {
		t.Fatal(err)
	}
	for i, c := range r.Candidates {
		if c.Seed != uint64(i) {
			t.Errorf("candidate %d is the drawing of seed %d", i, c.Seed)
		}
	}
}

// TestSeeds: every drawing has its own seed, the first ones whatever K and Drawings
// are; captions have the source's, and sources are a million apart.
func TestSeeds(t *testing.T) {
	c := &calls{toys: toys{captions: []string{"10", "20", "10", "30"}}}
	l := rerank.Loop{Captioner: c, Painter: c, Judge: c, K: 4}
	src := rerank.Source{Name: "x", Picture: grey(100), Seed: 50}
	one := func(want ...uint64) *rerank.Result {
		t.Helper()
		c.drawn, c.seeds = nil, nil
		r, err := l.One(background, src)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.drawn, want) || c.seeds[0] != 50 {
			t.Errorf("seeds of drawings %v, want %v; of captions %v", c.drawn, want, c.seeds)
		}
		return r
	}
	one(50, 51, 53)
	l.RedrawDuplicates = true
	if r := one(50, 51, 52, 53); r.Candidates[2].Duplicate != -1 || r.Candidates[2].Seed != 52 {
		t.Errorf("a duplicate that is drawn: %+v", r.Candidates[2])
	}
	l.Drawings = 2
	one(50, 54, 51, 55, 52, 56, 53, 57)
	l = rerank.Loop{Captioner: c, Painter: c, Judge: c, K: 3}
	c.toys.captions, src = nil, rerank.Source{Name: "100", Seed: 50}
	c.drawn, c.seeds = nil, nil
	if _, err := l.One(background, src); err != nil || !slices.Equal(c.drawn, []uint64{50, 51, 52}) ||
		!slices.Equal(c.seeds, []uint64{50, 50, 50}) {
		t.Errorf("a text's drawings have the seeds %v, their captions %v; %v", c.drawn, c.seeds, err)
	}
	if rerank.SourceSeed(9, 0) != 9 || rerank.SourceSeed(9, 3) != 3_000_009 {
		t.Errorf("sources' seeds %d, %d", rerank.SourceSeed(9, 0), rerank.SourceSeed(9, 3))
	}
}

// TestDescriber: drawings are described by the describer where there is one, as
// they are; texts are compared with the text.
func TestDescriber(t *testing.T) {
	a, b := &calls{}, &calls{}
	l := rerank.Loop{Captioner: a, Describer: b, Painter: a, Judge: a, K: 2}
	r, err := l.One(background, rerank.Source{Name: "100", Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.pictures) != 0 || !slices.Equal(b.pictures, []uint8{102, 103}) {
		t.Errorf("the captioner described %v, the describer %v", a.pictures, b.pictures)
	}
	for i, c := range r.Candidates {
		if c.Text != fmt.Sprint(102+i) || c.Picture.Pix[0] != uint8(102+i) || math.Abs(c.Score-math.Cos(float64(2+i)/1e3)) > 1e-6 ||
			c.Time.Draw != time.Second || c.Time.Caption <= 0 || c.Time.Judge <= 0 || c.Time.Total() != c.Time.Caption+c.Time.Draw+c.Time.Judge {
			t.Errorf("candidate %d: %+v", i, c)
		}
	}
	if r.Selected != 0 {
		t.Errorf("selected %d", r.Selected)
	}
	b.captions = nil
	l.Describer = broken{}
	if r, err = l.One(background, rerank.Source{Name: "100"}); err == nil || r.Candidates[0].Picture == nil || r.Candidates[0].Err == nil {
		t.Errorf("a drawing that is not described: %+v, %v", r.Candidates[0], err)
	}
}

type broken struct{}

func (broken) Caption(engine.Run, []pixels.Picture, int, []uint64) ([][]rerank.Caption, error) {
	return nil, errors.New("no words")
}

// TestEmbeddings: what is compared is kept where it is asked for, and gives the same
// scores.
func TestEmbeddings(t *testing.T) {
	for _, src := range []rerank.Source{{Name: "x", Picture: grey(100), Seed: 1}, {Name: "100", Seed: 1}} {
		c := &calls{}
		if src.Picture != nil {
			c.captions = []string{"20", "90", "20"}
		}
		l := rerank.Loop{Captioner: c, Painter: c, Judge: c, K: 3}
		plain, err1 := l.One(background, src)
		if src.Picture != nil && (c.embedded != 1 || c.scored != 2) {
			t.Errorf("%d pictures embedded, %d scored; want the source and two", c.embedded, c.scored)
		}
		l.Embeddings = true
		kept, err2 := l.One(background, src)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		for i, p := range plain.Candidates {
			k := kept.Candidates[i]
			v := 0.0
			if src.Picture != nil {
				v = float64(k.Picture.Pix[0])
			} else {
				fmt.Sscan(k.Text, &v)
			}
			want, err := angle(v)
			if err != nil {
				t.Fatal(err)
			}
			if p.Embedding != nil || !slices.Equal(k.Embedding, want.Data().([]float32)) || math.Abs(k.Score-p.Score) > 1e-6 || k.Rank != p.Rank {
				t.Errorf("candidate %d: %+v, without embeddings %+v", i, k, p)
			}
		}
	}
}

// TestReports: each candidate is told of once, with its score, as soon as its last
// drawing is compared; those that share it directly behind it.
func TestReports(t *testing.T) {
	toy := &toys{captions: []string{"20", "90", "20", "40"}, fail: "90"}
	var order []int
	l := rerank.Loop{Captioner: toy, Painter: toy, Judge: toy, K: 4, Drawings: 2}
	l.Report = func(i int, c rerank.Candidate) {
		order = append(order, i)
		if (c.Err != nil) != (i == 1) || i != 1 && (c.Score == 0 || c.Picture == nil) || c.Rank != 0 {
			t.Errorf("candidate %d is told as %+v", i, c)
		}
	}
	if _, err := l.One(background, rerank.Source{Name: "x", Picture: grey(25)}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, []int{0, 2, 1, 3}) {
		t.Errorf("told in the order %v", order)
	}
	order, toy.captions, toy.fail = nil, nil, "none"
	l.Report = func(i int, c rerank.Candidate) {
		order = append(order, i)
		if c.Text == "" || c.Score == 0 {
			t.Errorf("candidate %d is told as %+v", i, c)
		}
	}
	if _, err := l.One(background, rerank.Source{Name: "100"}); err != nil || !slices.Equal(order, []int{0, 1, 2, 3}) {
		t.Errorf("of a text: told in the order %v, %v", order, err)
	}
}

// TestRun: results come in the order of their sources, failed ones with their
// errors; what is done before the end stays done.
func TestRun(t *testing.T) {
	gone := errors.New("no such file")
	sources := func(n int) iter.Seq2[rerank.Source, error] {
		return func(yield func(rerank.Source, error) bool) {
			for i := range n {
				src, err := rerank.Source{Name: fmt.Sprint("s", i), Picture: grey(uint8(50 + i)), Seed: rerank.SourceSeed(3, i)}, error(nil)
				if i == 1 {
					src.Picture, err = nil, gone
				}
				if !yield(src, err) {
					return
				}
			}
		}
	}
	c := &calls{}
	l := rerank.Loop{Captioner: c, Painter: c, Judge: c, K: 2}
	var names []string
	if err := l.Run(background, sources(4), func(r *rerank.Result, err error) error {
		names = append(names, r.Source.Name)
		if failed := r.Source.Name == "s1"; failed != (err != nil) || failed && (r.Selected != -1 || !errors.Is(err, gone)) {
			t.Errorf("%s: %+v, %v", r.Source.Name, r, err)
		}
		return nil
	}); err != nil || fmt.Sprint(names) != "[s0 s1 s2 s3]" {
		t.Errorf("results of %v, %v", names, err)
	}
	if !slices.Equal(c.seeds, []uint64{3, 2_000_003, 3_000_003}) {
		t.Errorf("seeds of captions %v", c.seeds)
	}
	if want := []string{"caption", "judge", "draw"}; !slices.Equal(c.paths[:3], want) {
		t.Errorf("paths %v", c.paths)
	}
	// The run ends with the error of who takes the results.
	full := errors.New("disk full")
	n := 0
	if err := l.Run(background, sources(4), func(*rerank.Result, error) error { n++; return full }); !errors.Is(err, full) || n != 1 {
		t.Errorf("%d results, then %v", n, err)
	}
	// Cancelled in the middle of a source: its candidates so far are handed on.
	ctx, cancel := context.WithCancelCause(t.Context())
	away := errors.New("the user went away")
	run := engine.NewRun(ctx)
	c.captions = []string{"20", "90"}
	c.stop = func(i int) error {
		if i == 1 {
			cancel(away)
		}
		return run.Err()
	}
	n = 0
	err := l.Run(run, sources(4), func(r *rerank.Result, err error) error {
		n++
		if !errors.Is(err, away) || r.Selected != 0 || r.Candidates[0].Rank != 1 || r.Candidates[0].Picture == nil || r.Candidates[1].Rank != 0 {
			t.Errorf("cancelled: %+v, %v", r, err)
		}
		return nil
	})
	if !errors.Is(err, away) || n != 1 {
		t.Errorf("%d results, then %v", n, err)
	}
}

// TestSomeDrawingsFail: where only some drawings of a caption fail, the others count;
// where all do, the candidate has failed.
func TestSomeDrawingsFail(t *testing.T) {
	c := &half{toys: toys{captions: []string{"20", "40"}}}
	l := rerank.Loop{Captioner: c, Painter: c, Judge: c, K: 2, Drawings: 3}
	r, err := l.One(background, rerank.Source{Name: "x", Picture: grey(25), Seed: 10})
	if err != nil {
		t.Fatal(err)
	}
	// Seeds 10, 12, 14 of the first: 23, 25 and 20; odd ones fail, so that all of the
	// second do.
	if a := r.Candidates[0]; a.Err != nil || a.Picture.Pix[0] != 25 || a.Seed != 12 || a.Rank != 1 {
		t.Errorf("the first candidate: %+v", a)
	}
	if b := r.Candidates[1]; b.Err == nil || b.Picture != nil || b.Rank != 0 || b.Seed != 11 {
		t.Errorf("the second candidate: %+v", b)
	}
	// One that failed is no reproach to the other, whichever came first.
	l.K, l.Drawings, c.captions = 1, 2, c.captions[:1]
	for _, seed := range []uint64{10, 11} {
		r, err := l.One(background, rerank.Source{Name: "x", Picture: grey(25), Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if a := r.Candidates[0]; a.Err != nil || a.Rank != 1 || a.Seed%2 != 0 || a.Picture == nil || a.Time.Judge <= 0 {
			t.Errorf("seed %d: %+v", seed, a)
		}
	}
}

// half fails to draw odd seeds.
type half struct{ toys }

func (h *half) Draw(run engine.Run, texts []string, seeds []uint64, each func(int, rerank.Drawing)) error {
	for i := range texts {
		if seeds[i]%2 == 1 {
			each(i, rerank.Drawing{Err: errors.New("out of paint")})
			continue
		}
		if err := h.toys.Draw(run, texts[i:i+1], seeds[i:i+1], func(_ int, d rerank.Drawing) { each(i, d) }); err != nil {
			return err
		}
	}
	return nil
}
