package rerank_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/weights/mini"
)

// alike says where two results differ, but for times.
func alike(a, b *rerank.Result) string {
	if a.Selected != b.Selected || len(a.Candidates) != len(b.Candidates) {
		return fmt.Sprintf("selected %d of %d, %d of %d", a.Selected, len(a.Candidates), b.Selected, len(b.Candidates))
	}
	for i, c := range a.Candidates {
		d := b.Candidates[i]
		if c.Text != d.Text || c.Score != d.Score || c.Rank != d.Rank || c.Seed != d.Seed || c.Pruned != d.Pruned || c.Undrawn != d.Undrawn ||
			c.Duplicate != d.Duplicate || !slices.Equal(c.Embedding, d.Embedding) || fmt.Sprint(c.Err) != fmt.Sprint(d.Err) {
			return fmt.Sprintf("candidate %d: %+v and %+v", i, c, d)
		}
		if (c.Picture == nil) != (d.Picture == nil) || c.Picture != nil && !bytes.Equal(c.Picture.Pix, d.Picture.Pix) {
			return fmt.Sprintf("candidate %d: another picture", i)
		}
	}
	return ""
}

// TestSeveral: sources that are worked on together come to what each comes to alone,
// to the bit, with pruning and without.
func TestSeveral(t *testing.T) {
	blip, sd, clip := open(t, host.New(2))
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	for _, prune := range []string{"", "0.3:0.5,0.6:0.5", "0:0.5,0.5:0.5"} {
		for _, image := range []bool{true, false} {
			if !image && strings.HasPrefix(prune, "0:") {
				continue
			}
			l := loopOf(blip, sd, clip, steps(sd, 4), 4)
			l.Describer, l.Embeddings = blip.Captioner(models.Beam()), true
			if l.Prune, err = rerank.ParseRounds(prune); err != nil {
				t.Fatal(err)
			}
			var sources []rerank.Source
			for i, s := range scenes[3:6] {
				src := rerank.Source{Name: s.Captions[0], Seed: rerank.SourceSeed(9, i)}
				if image {
					if src.Picture, err = pixels.Decode(bytes.NewReader(s.PNG)); err != nil {
						t.Fatal(err)
					}
				}
				sources = append(sources, src)
			}
			rs, errs := l.Several(background, sources)
			pruned := 0
			for i, src := range sources {
				one, err := l.One(background, src)
				if err != nil || errs[i] != nil {
					t.Fatal(err, errs[i])
				}
				if d := alike(rs[i], one); d != "" {
					t.Errorf("prune %q, image %v, source %d: together and alone: %s", prune, image, i, d)
				}
				for _, c := range one.Candidates {
					if c.Pruned != 0 || c.Undrawn {
						pruned++
					}
				}
			}
			if want := map[string]int{"": 0, "0.3:0.5,0.6:0.5": 9, "0:0.5,0.5:0.5": 9}[prune]; pruned < want-5 || pruned > want {
				t.Errorf("prune %q: %d of 12 drawings are pruned", prune, pruned)
			}
		}
	}
}

// TestPrunedAsWhole: what goes on is drawn as it would be without the others, and is
// ranked before what does not.
func TestPrunedAsWhole(t *testing.T) {
	blip, sd, clip := open(t, host.New(2))
	l := loopOf(blip, sd, clip, steps(sd, 6), 6)
	l.RedrawDuplicates = true
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	picture, err := pixels.Decode(bytes.NewReader(scenes[5].PNG))
	if err != nil {
		t.Fatal(err)
	}
	src := rerank.Source{Name: "x", Picture: picture, Seed: 4}
	whole, err1 := l.One(background, src)
	l.Prune = []rerank.Round{{After: .34, Keep: .5}, {After: .67, Keep: .5}}
	some, err2 := l.One(background, src)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	at := map[int]int{}
	for i, c := range some.Candidates {
		at[c.Pruned]++
		w := whole.Candidates[i]
		if c.Text != w.Text || c.Seed != w.Seed || c.Picture == nil {
			t.Errorf("candidate %d: %+v, whole %+v", i, c, w)
		}
		if same := bytes.Equal(c.Picture.Pix, w.Picture.Pix); same != (c.Pruned == 0) || same && math.Abs(c.Score-w.Score) > 1e-6 {
			t.Errorf("candidate %d, pruned after %d: the same picture: %v, scores %v and %v", i, c.Pruned, same, c.Score, w.Score)
		}
		if want := map[int]int{0: 2, 4: 3, 2: 6}[c.Pruned]; c.Rank < 1 || c.Rank > want {
			t.Errorf("candidate %d, pruned after %d, has rank %d", i, c.Pruned, c.Rank)
		}
	}
	if at[0] != 2 || at[4] != 1 || at[2] != 3 {
		t.Errorf("pruned after steps: %v", at)
	}
}

// TestUndrawn: before any step those captions go on that come closest to the picture,
// the drawings of which are those of a whole run; the others have their texts alone.
func TestUndrawn(t *testing.T) {
	blip, sd, clip := open(t, host.New(2))
	l := loopOf(blip, sd, clip, steps(sd, 4), 6)
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	picture, err := pixels.Decode(bytes.NewReader(scenes[5].PNG))
	if err != nil {
		t.Fatal(err)
	}
	for _, redraw := range []bool{true, false} {
		l.RedrawDuplicates, l.Prune = redraw, nil
		src := rerank.Source{Name: "x", Picture: picture, Seed: 4}
		whole, err1 := l.One(background, src)
		l.Prune = []rerank.Round{{After: 0, Keep: .5}}
		some, err2 := l.One(background, src)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, c := range some.Candidates {
			texts = append(texts, c.Text)
		}
		embedded, err1 := l.Judge.EmbedTexts(background, texts)
		truth, err2 := l.Judge.EmbedImages(background, []pixels.Picture{picture})
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		drawn, undrawn := 2.0, -2.0 // the least and the most of their cosines
		n := 0
		for i, cosine := range models.Cosines(truth, embedded)[0] {
			c, w := some.Candidates[i], whole.Candidates[i]
			if c.Undrawn {
				if undrawn = max(undrawn, cosine); c.Rank != 0 || c.Picture != nil || c.Err != nil || c.Text != w.Text {
					t.Errorf("candidate %d: %+v", i, c)
				}
				continue
			}
			drawn = min(drawn, cosine)
			if n++; c.Rank == 0 || !bytes.Equal(c.Picture.Pix, w.Picture.Pix) {
				t.Errorf("candidate %d is drawn otherwise: %+v", i, c)
			}
		}
		if redraw && n != 3 || n == 0 || n == 6 || drawn < undrawn-1e-6 {
			t.Errorf("redrawn %v: %d are drawn, down to %v; the others are up to %v", redraw, n, drawn, undrawn)
		}
	}
	if _, err := l.One(background, rerank.Source{Name: "a cat"}); err == nil || !strings.Contains(err.Error(), "a text has no captions") {
		t.Errorf("a text: %v", err)
	}
	l.Judge = clip.Judge(models.EmbedOptions{Pooled: true})
	_, err = l.One(background, rerank.Source{Name: "x", Picture: picture})
	if err == nil || !strings.Contains(err.Error(), "after CLIP's projection") {
		t.Errorf("pooled: %v", err)
	}
}

// TestSeveralAlone: where the work on all fails, each source has its own error.
func TestSeveralAlone(t *testing.T) {
	c := &picky{toys: toys{captions: []string{"20", "90"}}}
	l := rerank.Loop{Captioner: c, Painter: c, Judge: c, K: 2}
	rs, errs := l.Several(background, []rerank.Source{{Name: "a", Picture: grey(1)}, {Name: "b", Picture: grey(66)},
		{Name: "c", Picture: grey(3)}})
	for i, err := range errs {
		if bad := i == 1; bad != (err != nil) || bad && !strings.Contains(err.Error(), "caption b: no words") || !bad && rs[i].Selected < 0 {
			t.Errorf("source %d: %+v, %v", i, rs[i], err)
		}
	}
	if rs, errs := l.Several(background, nil); len(rs)+len(errs) != 0 {
		t.Error("results of nothing")
	}
	l.K = 0
	if _, errs := l.Several(background, []rerank.Source{{Name: "1"}, {Name: "2"}}); errs[0] == nil || errs[1] == nil {
		t.Error("no candidates and no error")
	}
	// Pruning is refused where it cannot be.
	l.K, l.Prune = 2, []rerank.Round{{After: .5, Keep: .5}}
	if _, err := l.One(background, rerank.Source{Name: "1"}); err == nil || !strings.Contains(err.Error(), "cannot be given up") {
		t.Errorf("a painter that cannot: %v", err)
	}
}

// picky describes no picture of one brightness.
type picky struct{ toys }

func (p *picky) Caption(run engine.Run, ps []pixels.Picture, k int, seeds []uint64) ([][]rerank.Caption, error) {
	for _, m := range ps {
		if h, err := m.Host(); err != nil || h.Pix[0] == 66 {
			return nil, errors.New("no words")
		}
	}
	return p.toys.Caption(run, ps, k, seeds)
}

func TestParseRounds(t *testing.T) {
	for s, want := range map[string]int{"": 0, "0.5:0.5": 1, "0.25:0.5,0.5:0.5": 2, "0.5": -1, "0:0.5": 1, "0:0.5,0.3:0.5": 2,
		"0.3:0.5,0:0.5": -1, "-0.1:0.5": -1, "0.5:1": -1, "0.5:0.5,0.4:0.5": -1,
		"NaN:0.5": -1, "0.5:NaN": -1, "a:b": -1, "0.5:0.5,": -1} {
		rounds, err := rerank.ParseRounds(s)
		if (err != nil) != (want < 0) || want >= 0 && len(rounds) != want {
			t.Errorf("%q: %v, %v", s, rounds, err)
		}
	}
}
