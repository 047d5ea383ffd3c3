package rerank

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"parley/engine"
	"parley/nets/pixels"
)

// Round gives up drawings on their way: after a part of the steps, only the part
// of the candidates goes on whose predicted clean pictures come closest to the
// source (NoisyCLIP, arXiv 2512.08505, prunes so after half of the steps). What
// goes on is drawn as if it were alone. A round after 0 comes before any step: of a
// picture's captions, those that come closest to it themselves are drawn.
type Round struct {
	After float64 // part of the steps, 0 or more and below 1
	Keep  float64 // part of the candidates that are still drawn, above 0 and below 1; at least one
}

func (r Round) String() string { return fmt.Sprintf("%v:%v", r.After, r.Keep) }

// ParseRounds reads "AFTER:KEEP,…" as in 0:0.5,0.6:0.5; "" is none.
func ParseRounds(s string) (rounds []Round, err error) {
	if s == "" {
		return nil, nil
	}
	for _, part := range strings.Split(s, ",") {
		after, keep, ok := strings.Cut(part, ":")
		a, err1 := strconv.ParseFloat(after, 64)
		k, err2 := strconv.ParseFloat(keep, 64)
		if !ok || err1 != nil || err2 != nil || !(a >= 0 && a < 1) || !(k > 0 && k < 1) || len(rounds) > 0 && a <= rounds[len(rounds)-1].After {
			return nil, fmt.Errorf("%q: want AFTER:KEEP,… as in 0:0.5,0.6:0.5: parts below 1, of the steps, from 0 on and rising, and of the "+
				"candidates, above 0", s)
		}
		rounds = append(rounds, Round{a, k})
	}
	return rounds, nil
}

// FormatRounds is what ParseRounds reads.
func FormatRounds(rounds []Round) string {
	var parts []string
	for _, r := range rounds {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, ",")
}

// Pruner is a Painter whose drawings can be given up on their way.
type Pruner interface {
	Painter
	// Steps is how often the net runs for a drawing.
	Steps() (int, error)
	// DrawPruned draws texts together. After each of some steps, counted from 1, look
	// is told which drawings are still on their way and what the net takes their clean
	// pictures for (nil: not finite), which are good until it returns; it returns the
	// places in that list that go on. The others are not handed on.
	DrawPruned(run engine.Run, texts []string, seeds []uint64, after []int, look Look, each func(i int, d Drawing)) error
}

// Look chooses the drawings that go on.
type Look func(step int, drawings []int, previews []pixels.Picture) (keep []int, err error)

// prunable says what is in the way of pruning.
func (g *group) prunable() error {
	if len(g.Prune) == 0 {
		return nil
	}
	if _, ok := g.Painter.(Pruner); !ok && len(g.onTheWay()) > 0 {
		return errors.New("this painter's drawings cannot be given up on their way")
	}
	if g.Drawings > 1 {
		return errors.New("pruning and several drawings of each caption do not go together")
	}
	if g.Prune[0].After == 0 && g.results[0].Source.Picture == nil {
		return errors.New("pruning after 0 compares a picture's captions with it: a text has no captions before it is drawn")
	}
	return nil
}

// onTheWay are the rounds that come after some steps.
func (g *group) onTheWay() []Round {
	if len(g.Prune) > 0 && g.Prune[0].After == 0 {
		return g.Prune[1:]
	}
	return g.Prune
}

// choose keeps the jobs of each picture's captions that come closest to it, where a
// round says so; the others are not drawn.
func (g *group) choose() error {
	if len(g.onTheWay()) == len(g.Prune) {
		return nil
	}
	var texts []string
	at := map[string]int{}
	for _, j := range g.jobs {
		if _, ok := at[j.text]; !ok {
			at[j.text] = len(texts)
			texts = append(texts, j.text)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	e, err := g.Judge.EmbedTexts(g.run.In("judge"), texts)
	if err != nil {
		return fmt.Errorf("compare the captions of %s with it: %w", g.name(), err)
	}
	embedded := rows(e)
	var kept []job
	for lo, hi := 0, 0; lo < len(g.jobs); lo = hi {
		for hi = lo; hi < len(g.jobs) && g.jobs[hi].source == g.jobs[lo].source; {
			hi++
		}
		jobs := g.jobs[lo:hi]
		scores := make([]float64, len(jobs))
		for i, j := range jobs {
			if scores[i], err = cosine(g.sources[j.source], embedded[at[j.text]].Data().([]float32)); err != nil {
				return fmt.Errorf("compare captions with their picture: %w: pruning after 0 does so after CLIP's projection", err)
			}
		}
		keep, drop := closest(scores, g.Prune[0].Keep)
		for _, i := range drop {
			g.candidate(jobs[i]).Undrawn = true
			g.done(jobs[i])
		}
		for _, i := range keep {
			kept = append(kept, jobs[i])
		}
	}
	g.jobs = kept
	return nil
}

// closest parts places by their scores: the best part, at least one, in their order,
// and the others.
func closest(scores []float64, part float64) (keep, drop []int) {
	best := make([]int, len(scores))
	for i := range best {
		best[i] = i
	}
	slices.SortStableFunc(best, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	n := max(1, int(math.Ceil(part*float64(len(scores))-1e-9)))
	keep = slices.Clone(best[:n])
	slices.Sort(keep)
	return keep, best[n:]
}

// stops are the steps, counted from 1, after which drawings are pruned.
func stops(rounds []Round, steps int) ([]int, error) {
	out := make([]int, len(rounds))
	for i, r := range rounds {
		out[i] = min(max(1, int(math.Round(r.After*float64(steps)))), steps-1)
		if out[i] < 1 || i > 0 && out[i] <= out[i-1] {
			return nil, fmt.Errorf("pruning at %v: of %d steps that is no step between the first round and the last step of its own", r, steps)
		}
	}
	return out, nil
}

// drawPruned draws the candidates of each source together, and fewer from round to
// round.
func (g *group) drawPruned(take func(job, Drawing)) error {
	painter := g.Painter.(Pruner)
	steps, err := painter.Steps()
	if err != nil {
		return err
	}
	rounds := g.onTheWay()
	after, err := stops(rounds, steps)
	if err != nil {
		return err
	}
	for lo, hi := 0, 0; lo < len(g.jobs); lo = hi {
		for hi = lo; hi < len(g.jobs) && g.jobs[hi].source == g.jobs[lo].source; {
			hi++
		}
		jobs := g.jobs[lo:hi]
		texts, seeds := make([]string, len(jobs)), make([]uint64, len(jobs))
		for i, j := range jobs {
			texts[i], seeds[i] = j.text, j.seed
		}
		look := func(step int, drawings []int, previews []pixels.Picture) ([]int, error) {
			still := make([]job, len(drawings))
			for i, d := range drawings {
				still[i] = jobs[d]
			}
			return g.look(step, rounds[slices.Index(after, step)].Keep, still, previews)
		}
		if err := painter.DrawPruned(g.run.In("draw"), texts, seeds, after, look, func(n int, d Drawing) { take(jobs[n], d) }); err != nil {
			return err
		}
	}
	return nil
}

// look keeps the part of a source's drawings whose previews come closest to it. The
// others have the scores and pictures of their previews.
func (g *group) look(step int, part float64, jobs []job, previews []pixels.Picture) (keep []int, err error) {
	var seen []pixels.Picture
	var order []int
	for i, p := range previews {
		if p != nil {
			seen, order = append(seen, p), append(order, i)
		}
	}
	scores := make([]float64, len(jobs))
	for i := range scores {
		scores[i] = math.Inf(-1)
	}
	if len(seen) > 0 {
		e, err := g.Judge.EmbedImages(g.run.In("judge"), seen)
		if err != nil {
			return nil, fmt.Errorf("judge what drawings become: %w", err)
		}
		for n, row := range rows(e) {
			i, y := order[n], row.Data().([]float32)
			if scores[i], err = cosine(g.sources[jobs[i].source], y); err != nil {
				return nil, fmt.Errorf("judge what drawings become: %w: pruning compares pictures with the source, after CLIP's projection", err)
			}
			if g.Embeddings {
				g.candidate(jobs[i]).Embedding = y
			}
		}
	}
	keep, drop := closest(scores, part)
	for _, i := range drop {
		c := g.candidate(jobs[i])
		if c.Pruned = step; previews[i] == nil {
			c.Err = errors.New("pruned, since it was not finite")
		} else if c.Picture, c.Err = previews[i].Host(); c.Err == nil {
			c.Score = scores[i]
		}
		g.done(jobs[i])
	}
	return keep, nil
}
