// Package eval runs the experiment of "Do DALL-E and Flamingo Understand Each
// Other?" (arXiv 2212.12249) over a data set: each item's reconstruction is a line of
// an append-only file, a run goes on wherever it was ended, and shards of it are put
// together. Its report makes the paper's table and figures of the lines.
package eval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"parley/bench/coco"
	"parley/engine"
	"parley/nets/pixels"
	"parley/nets/pixels/batch"
	"parley/nets/rerank"
)

// Experiment is what a run does.
type Experiment struct {
	Settings Settings // Data.Items and Data.SHA256 are filled in by Run
	Set      *coco.Set
	Loop     rerank.Loop      // of the task
	Beam     rerank.Captioner // of the image task; nil: no caption of beam search
	Scorers  []Scorer
	Together int // items that are worked on at once; 0 is 8. It changes no result.
	// Retry does the items of earlier runs again that have no result, or a candidate
	// that has none. No BatchError ends it.
	Retry bool
	// Progress, if any, is told after each batch.
	Progress func(Progress)
	// Failed, if any, is told of items that have no result.
	Failed func(r *Record)
}

// Progress is how far a run has come.
type Progress struct {
	Done, Total int           // items of the shard, with those of earlier runs
	Now         int           // items of this run
	Time        time.Duration // of this run
	Idle        time.Duration // of it, what the nets waited for pictures and files
}

// Rate is items a second.
func (p Progress) Rate() float64 { return float64(p.Now) / max(1e-9, p.Time.Seconds()) }

// Left is the time that the rest will take.
func (p Progress) Left() time.Duration {
	if p.Now == 0 {
		return 0
	}
	return time.Duration(float64(p.Time) / float64(p.Now) * float64(p.Total-p.Done))
}

// IdleShare is the part of the time in which the nets waited.
func (p Progress) IdleShare() float64 { return float64(p.Idle) / max(1, float64(p.Time)) }

// Summary is what a run came to.
type Summary struct {
	Progress
	Failed          int // items without a result, with those of earlier runs
	Again           int // items that had failed in earlier runs and were to be done again
	Missing, Broken int // of this run's: pictures that are not there, and that cannot be read
}

// BatchError says that of some items that were worked on together none has a result,
// which is rather the settings' or the device's fault than theirs. They have no lines.
type BatchError struct {
	Items int
	First *Record
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("none of %d items that were worked on together has a result: item %s: %s", e.Items, e.First.Name(), e.First.Error)
}

// Scored is an item whose candidates a Scorer gives scores.
type Scored struct {
	Picture *pixels.Image
	Result  *rerank.Result
	Record  *Record
}

// Scorer adds scores of a name to the candidates of some items, in Candidate.Scores:
// another judge, in batches across the items. Scores follow from an item alone.
type Scorer func(run engine.Run, items []*Scored) error

// count reads a data set once.
func (d *Data) count(s *coco.Set) error {
	h := sha256.New()
	d.Name, d.Items = s.Name, 0
	for it, err := range s.Items() {
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %q %q %q\n", it.ID, it.Image, it.Domain, it.References)
		d.Items++
	}
	if d.Items == 0 {
		return fmt.Errorf("%s: no items", s.Name)
	}
	d.SHA256 = hex.EncodeToString(h.Sum(nil))
	return nil
}

// SeedOf is the seed of an item: the same in whichever shard, batch or run.
func SeedOf(seed uint64, index int) uint64 { return rerank.SourceSeed(seed, index) }

// Run works on the items of a shard that dir has no line of. What ends it, a signal
// or a full disk, costs the items under way. It ends with a BatchError, too.
func Run(run engine.Run, dir string, e Experiment) (sum *Summary, err error) {
	s := &e.Settings
	s.Format = format
	if err := s.Data.count(e.Set); err != nil {
		return nil, err
	}
	f, err := openFolder(dir, s, e.Retry)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	shard, err := s.shard()
	if err != nil {
		return nil, err
	}
	w := &work{Experiment: e, folder: f, sum: &Summary{Failed: f.failed, Again: f.again}, run: run}
	if w.Together == 0 {
		w.Together = 8
	}
	if w.sum.Total, err = s.Size(); err != nil {
		return nil, err
	}
	w.sum.Done = f.before
	return w.sum, w.all(shard)
}

// work is a run under way.
type work struct {
	Experiment
	run    engine.Run
	folder *folder
	sum    *Summary

	mu      sync.Mutex
	reading map[string]entry // items whose pictures are read ahead, by index
}

// entry is an item with its place in the whole data set.
type entry struct {
	coco.Item
	index int
}

// sources are the pictures of the items that are to be done, for who reads ahead.
func (w *work) sources(shard coco.Shard, failed *error) iter.Seq[batch.Source] {
	return func(yield func(batch.Source) bool) {
		i := -1
		for it, err := range w.Set.Items() {
			if err != nil {
				w.mu.Lock()
				*failed = err
				w.mu.Unlock()
				return
			}
			if i++; !shard.Has(i) || w.folder.done[i] {
				continue
			}
			name := strconv.Itoa(i)
			w.mu.Lock()
			w.reading[name] = entry{it, i}
			w.mu.Unlock()
			if !yield(batch.From(name, it.Open)) {
				return
			}
		}
	}
}

// take is an item that has been read.
func (w *work) take(name string) entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.reading[name]
	delete(w.reading, name)
	return e
}

// all works through the items: while the nets have some, the next ones' pictures are
// decoded and the last ones' lines written, on other cores.
func (w *work) all(shard coco.Shard) error {
	w.reading = map[string]entry{}
	var data, failed error
	start := time.Now()
	ctx := w.run.Context
	if ctx == nil {
		ctx = context.Background()
	}
	lines := newWriter(w.folder, w.Settings.Keep)
	idle := time.Now() // since when the nets wait
	for group := range batch.Groups(ctx, w.sources(shard, &data), w.Together) {
		w.sum.Idle += time.Since(idle)
		began := time.Now()
		var list []*Scored
		if list, failed = w.work(group); failed != nil || w.run.Err() != nil {
			break
		}
		took := time.Since(began) / time.Duration(len(list))
		idle = time.Now()
		for _, x := range list {
			if x.Record.Error != "" {
				w.sum.Failed++
				if w.Failed != nil {
					w.Failed(x.Record)
				}
			}
		}
		if !lines.put(list, took) {
			break // it has the error
		}
		w.sum.Now += len(list)
		w.sum.Done += len(list)
		w.sum.Time = time.Since(start)
		if w.Progress != nil {
			w.Progress(w.sum.Progress)
		}
	}
	err := lines.close()
	w.sum.Now, w.sum.Done = lines.n, w.folder.before+lines.n // what a full disk has not taken is not done
	w.sum.Time = time.Since(start)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err = errors.Join(err, data); err == nil {
		err = w.run.Err()
	}
	return cmp.Or(err, failed)
}

// work reconstructs some items.
func (w *work) work(group []batch.Item) ([]*Scored, error) {
	list := make([]*Scored, len(group))
	var good []*Scored
	var sources []rerank.Source
	for i, g := range group {
		it := w.take(g.Name)
		seed := SeedOf(w.Settings.Seed, it.index)
		r := &Record{Index: it.index, ID: it.ID, Image: it.Image, Domain: it.Domain, References: it.References, Seed: seed, Selected: -1,
			Candidates: []Candidate{}}
		list[i] = &Scored{Picture: g.Picture, Record: r, Result: &rerank.Result{Selected: -1}}
		src := rerank.Source{Name: it.ID, Picture: g.Picture, Seed: seed}
		switch {
		case g.Err != nil && errors.Is(g.Err, fs.ErrNotExist):
			w.sum.Missing++
			r.Error = "missing: " + cause(g.Err)
			continue
		case g.Err != nil:
			w.sum.Broken++
			r.Error = "broken: " + cause(g.Err)
			continue
		case w.Settings.Task == Text && (len(it.References) == 0 || strings.TrimSpace(it.References[0]) == ""):
			r.Error = "it has no text to draw"
			continue
		case w.Settings.Task == Text:
			src = rerank.Source{Name: it.References[0], Seed: seed}
			r.Source = src.Name
		}
		good, sources = append(good, list[i]), append(sources, src)
	}
	results, errs := w.Loop.Several(w.run, sources)
	for i, x := range good {
		x.Result = results[i]
		x.Record.fill(x.Result, w.Settings.Draw.UNet, w.Settings.Drawings)
		if errs[i] != nil {
			x.Record.Error = errs[i].Error()
		}
	}
	if w.Beam != nil {
		w.score(good, w.beam)
	}
	for _, s := range w.Scorers {
		w.score(good, s)
	}
	if len(good) > 1 && !w.Retry && !slices.ContainsFunc(good, func(x *Scored) bool { return x.Record.Error == "" }) {
		return nil, &BatchError{len(good), good[0].Record}
	}
	return list, nil
}

// score gives items scores, each alone where it fails for all.
func (w *work) score(list []*Scored, s Scorer) {
	if len(list) == 0 || w.run.Err() != nil {
		return
	}
	err := s(w.run, list)
	if err == nil {
		return
	}
	if len(list) == 1 {
		if r := list[0].Record; r.Error == "" {
			r.Error = err.Error()
		}
		return
	}
	for i := range list {
		w.score(list[i:i+1], s)
	}
}

// beam has pictures described by beam search.
func (w *work) beam(run engine.Run, list []*Scored) error {
	pictures, seeds := make([]pixels.Picture, len(list)), make([]uint64, len(list))
	for i, x := range list {
		pictures[i], seeds[i] = x.Picture, x.Record.Seed
	}
	captions, err := w.Beam.Caption(run.In("beam"), pictures, 1, seeds)
	if err != nil {
		return fmt.Errorf("beam search: %w", err)
	}
	for i, x := range list {
		c := captions[i][0]
		if c.Err != nil {
			return fmt.Errorf("beam search: %w", c.Err)
		}
		x.Record.Beam = &Candidate{Text: c.Text}
	}
	return nil
}

// cause is an error without the path of this machine, which is no part of a record.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
