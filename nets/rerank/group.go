package rerank

import (
	"errors"
	"fmt"
	"time"

	"gorgonia.org/tensor"

	"parley/engine"
	"parley/nets/pixels"
)

// together is how many drawings of several sources are judged at once.
const together = 16

// Several is One for several sources at once: captions, drawings and scores are
// made in batches across them. Each source's result is that of One with
// Embeddings, whatever the others are. Sources are all pictures or all texts. Where
// the work on all of them fails, each is tried alone, and has its own error.
func (l *Loop) Several(run engine.Run, sources []Source) ([]*Result, []error) {
	own := *l
	own.Embeddings = true
	l = &own
	results, errs := make([]*Result, len(sources)), make([]error, len(sources))
	mixed := false
	for _, s := range sources {
		mixed = mixed || (s.Picture == nil) != (sources[0].Picture == nil)
	}
	if len(sources) > 1 && l.K > 0 && !mixed {
		g := newGroup(l, run, sources, together)
		err := g.work()
		if err == nil || run.Err() != nil {
			for i, r := range g.results {
				results[i], errs[i] = l.finish(r, err)
			}
			return results, errs
		}
	}
	for i, s := range sources {
		results[i], errs[i] = l.One(run, s)
	}
	return results, errs
}

// group is sources under way.
type group struct {
	*Loop
	run     engine.Run
	most    int // drawings that are judged at once; 1: where they lie, as soon as they are there
	results []*Result
	sources []*tensor.Dense // embeddings [1, D]
	jobs    []job           // the drawings of all, source by source
	left    map[*Candidate]int
	waiting []waiting
}

// job is a drawing that is to be made.
type job struct {
	source, candidate int
	text              string
	seed              uint64
}

// waiting is a drawing that waits for its judge.
type waiting struct {
	job
	picture pixels.Picture
}

func newGroup(l *Loop, run engine.Run, sources []Source, most int) *group {
	g := &group{Loop: l, run: run, most: most, left: map[*Candidate]int{}}
	for _, s := range sources {
		g.results = append(g.results, &Result{Source: s, Selected: -1})
	}
	return g
}

func (g *group) work() error {
	if err := g.prunable(); err != nil {
		return err
	}
	if g.results[0].Source.Picture != nil {
		return g.images()
	}
	return g.texts()
}

func (g *group) candidate(j job) *Candidate { return &g.results[j.source].Candidates[j.candidate] }

// name is what errors of all call the sources.
func (g *group) name() string {
	if n := len(g.results); n > 1 {
		return fmt.Sprintf("%d sources", n)
	}
	return g.results[0].Source.Name
}

// images describes pictures K times each and draws each description.
func (g *group) images() error {
	var pictures []pixels.Picture
	var seeds []uint64
	for _, r := range g.results {
		pictures, seeds = append(pictures, r.Source.Picture), append(seeds, r.Source.Seed)
	}
	start := time.Now()
	captions, err := g.Captioner.Caption(g.run.In("caption"), pictures, g.K, seeds)
	if err != nil {
		return fmt.Errorf("caption %s: %w", g.name(), err)
	}
	n := 0
	for _, list := range captions {
		n += len(list)
	}
	took := time.Since(start) / time.Duration(max(1, n))
	embedded, err := g.Judge.EmbedImages(g.run.In("judge"), pictures)
	if err != nil {
		return fmt.Errorf("embed %s: %w", g.name(), err)
	}
	g.sources = rows(embedded)
	for i, list := range captions {
		g.plan(i, list, took)
	}
	if err := g.choose(); err != nil {
		return err
	}
	return g.draw(g.compare)
}

// plan makes a picture's candidates of its captions, and the jobs of those that are
// drawn.
func (g *group) plan(source int, captions []Caption, took time.Duration) {
	r := g.results[source]
	r.Candidates = make([]Candidate, len(captions))
	first := map[string]int{}
	for i, c := range captions {
		r.Candidates[i] = Candidate{Text: c.Text, Seed: r.Source.Seed + uint64(i), Duplicate: -1, Time: Timing{Caption: took}, Err: c.Err}
		if c.Err != nil {
			g.report(i, r.Candidates[i])
			continue
		}
		if j, ok := first[c.Text]; ok && !g.RedrawDuplicates {
			r.Candidates[i].Duplicate, r.Candidates[i].Seed = j, r.Candidates[j].Seed
			continue
		}
		first[c.Text] = i
		g.left[&r.Candidates[i]] = max(g.Drawings, 1)
		for d := range max(g.Drawings, 1) {
			g.jobs = append(g.jobs, job{source, i, c.Text, r.Source.Seed + uint64(d*g.K+i)})
		}
	}
}

// texts draws texts K times each and describes each drawing.
func (g *group) texts() error {
	var names []string
	for _, r := range g.results {
		names = append(names, r.Source.Name)
	}
	embedded, err := g.Judge.EmbedTexts(g.run.In("judge"), names)
	if err != nil {
		if len(names) > 1 {
			return fmt.Errorf("embed %s: %w", g.name(), err)
		}
		return fmt.Errorf("embed %q: %w", names[0], err)
	}
	g.sources = rows(embedded)
	for n, r := range g.results {
		r.Candidates = make([]Candidate, g.K)
		for i := range r.Candidates {
			seed := r.Source.Seed + uint64(i)
			r.Candidates[i] = Candidate{Seed: seed, Duplicate: -1}
			g.jobs = append(g.jobs, job{n, i, r.Source.Name, seed})
		}
	}
	return g.draw(g.describe)
}

// draw makes the drawings of all jobs, and has them judged.
func (g *group) draw(judge func([]waiting)) error {
	flush := func() {
		if len(g.waiting) > 0 {
			judge(g.waiting)
		}
		g.waiting = g.waiting[:0]
	}
	take := func(j job, d Drawing) {
		g.candidate(j).Time.Draw += d.Time
		p, err := d.Picture, d.Err
		if err == nil && g.most > 1 { // it is good until this returns
			p, err = p.Host()
		}
		if err != nil {
			g.settle(waiting{job: j}, 0, nil, err)
			return
		}
		if g.waiting = append(g.waiting, waiting{j, p}); len(g.waiting) >= g.most {
			flush()
		}
	}
	var err error
	if len(g.onTheWay()) == 0 {
		err = g.drawJobs(g.jobs, take)
	} else {
		err = g.drawPruned(take)
	}
	flush()
	return err
}

func (g *group) drawJobs(jobs []job, take func(job, Drawing)) error {
	texts, seeds := make([]string, len(jobs)), make([]uint64, len(jobs))
	for i, j := range jobs {
		texts[i], seeds[i] = j.text, j.seed
	}
	return g.Painter.Draw(g.run.In("draw"), texts, seeds, func(n int, d Drawing) { take(jobs[n], d) })
}

// compare scores drawings of captions by their source pictures.
func (g *group) compare(list []waiting) {
	run, start := g.run.In("judge"), time.Now()
	pictures := make([]pixels.Picture, len(list))
	for i, w := range list {
		pictures[i] = w.picture
	}
	scores, embeddings, err := g.score(list, func() (*tensor.Dense, error) {
		return g.Judge.EmbedImages(run, pictures)
	}, func(source *tensor.Dense) ([]float64, error) {
		return g.Judge.ScoreImages(run, source, pictures)
	})
	if err != nil && len(list) > 1 { // whose is it?
		for i := range list {
			g.compare(list[i : i+1])
		}
		return
	}
	took := time.Since(start) / time.Duration(len(list))
	for i, w := range list {
		g.candidate(w.job).Time.Judge += took
		if err != nil {
			g.settle(w, 0, nil, err)
			continue
		}
		g.settle(w, scores[i], embeddings[i], nil)
	}
}

// settle gives a drawing of a caption its score. Its candidate keeps it where none
// came closer, and copies it to the host then.
func (g *group) settle(w waiting, score float64, embedding []float32, err error) {
	c := g.candidate(w.job)
	if err == nil && (c.Picture == nil || score > c.Score) {
		m, e := w.picture.Host()
		if err = e; err == nil {
			c.Picture, c.Score, c.Seed, c.Embedding, c.Err = m, score, w.seed, embedding, nil
		}
	}
	if err != nil && c.Picture == nil {
		c.Err = err
	}
	g.done(w.job)
}

// done reports a candidate whose last drawing has been looked at, and those that
// share it.
func (g *group) done(j job) {
	c := g.candidate(j)
	if g.left[c]--; g.left[c] > 0 {
		return
	}
	g.report(j.candidate, *c)
	list := g.results[j.source].Candidates
	for i := range list {
		if t := &list[i]; t.Duplicate == j.candidate {
			t.Picture, t.Err, t.Score, t.Seed, t.Embedding = c.Picture, c.Err, c.Score, c.Seed, c.Embedding
			t.Pruned, t.Undrawn = c.Pruned, c.Undrawn
			g.report(i, *t)
		}
	}
}

// describe has drawings of texts captioned and the captions scored. A drawing is
// copied to the host at the end, also where it could not be described.
func (g *group) describe(list []waiting) {
	describer := g.Describer
	if describer == nil {
		describer = g.Captioner
	}
	pictures, seeds := make([]pixels.Picture, len(list)), make([]uint64, len(list))
	for i, w := range list {
		pictures[i], seeds[i] = w.picture, g.results[w.source].Source.Seed
	}
	start := time.Now()
	captions, err := describer.Caption(g.run.In("caption"), pictures, 1, seeds)
	took := time.Since(start) / time.Duration(len(list))
	texts := make([]string, len(list))
	for i := range captions {
		texts[i], err = captions[i][0].Text, errors.Join(err, captions[i][0].Err)
	}
	var scores []float64
	var embeddings [][]float32
	start = time.Now()
	if err == nil {
		run := g.run.In("judge")
		scores, embeddings, err = g.score(list, func() (*tensor.Dense, error) {
			return g.Judge.EmbedTexts(run, texts)
		}, func(source *tensor.Dense) ([]float64, error) {
			return g.Judge.ScoreTexts(run, source, texts)
		})
	}
	if err != nil && len(list) > 1 { // whose is it?
		for i := range list {
			g.describe(list[i : i+1])
		}
		return
	}
	judge := time.Since(start) / time.Duration(len(list))
	for i, w := range list {
		c := g.candidate(w.job)
		c.Time.Caption, c.Time.Judge, c.Text, c.Err = took, judge, texts[i], err
		if err == nil {
			c.Score, c.Embedding = scores[i], embeddings[i]
		}
		m, e := w.picture.Host()
		if c.Picture = m; c.Err == nil {
			c.Err = e
		}
		g.report(w.candidate, *c)
	}
}

// score are the cosines of embeddings with those of their sources. Where embeddings
// are kept, they are what is compared; elsewhere, for one source, only the cosines
// leave the device.
func (g *group) score(list []waiting, embed func() (*tensor.Dense, error), score func(source *tensor.Dense) ([]float64, error)) ([]float64,
	[][]float32, error) {
	if !g.Embeddings {
		scores, err := score(g.sources[list[0].source])
		return scores, make([][]float32, len(list)), err
	}
	e, err := embed()
	if err != nil {
		return nil, nil, err
	}
	scores, embeddings := make([]float64, len(list)), make([][]float32, len(list))
	for i, row := range rows(e) {
		embeddings[i] = row.Data().([]float32)
		if scores[i], err = cosine(g.sources[list[i].source], embeddings[i]); err != nil {
			return nil, nil, err
		}
	}
	return scores, embeddings, nil
}

// cosine is that of embeddings of length 1.
func cosine(source *tensor.Dense, y []float32) (float64, error) {
	x, sum := source.Data().([]float32), 0.0
	if len(x) != len(y) {
		return 0, fmt.Errorf("embeddings of %d and %d values have no cosine", len(x), len(y))
	}
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return sum, nil
}

// rows are embeddings [N, D] one by one, [1, D] each.
func rows(x *tensor.Dense) []*tensor.Dense {
	n, data := x.Shape()[0], x.Data().([]float32)
	d := len(data) / max(1, n)
	out := make([]*tensor.Dense, n)
	for i := range out {
		out[i] = tensor.New(tensor.WithShape(1, d), tensor.WithBacking(data[i*d:(i+1)*d:(i+1)*d]))
	}
	return out
}
