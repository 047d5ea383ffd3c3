package work

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// batch is the jobs that run together: those it began with, and those that joined them.
type batch[In, Out any] struct {
	lane   *lane[In, Out]
	key    string
	jobs   []*job[In, Out] // that it began with
	since  time.Time       // it runs
	ctx    context.Context // ends when nobody waits for any of its jobs
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	open   map[*job[In, Out]]func() bool // jobs that are not finished, and how to stop watching who waits for each
	total  int                           // jobs, in all
	atOnce int                           // the most that were open
}

// join takes at most n more jobs of the batch's key. There are none where it is the turn
// of a client whose next job has another key, so that a batch that others join again and
// again keeps nobody waiting, and where nobody waits for the batch itself any more.
func (b *batch[In, Out]) join(n int) []*job[In, Out] {
	l := b.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	b.mu.Lock()
	n = min(n, l.most-len(b.open))
	b.mu.Unlock()
	if n <= 0 || b.ctx.Err() != nil || len(l.turns) == 0 || l.queues[l.turns[0]][0].key != b.key {
		return nil
	}
	jobs := l.take(b, n)
	l.seen.Joined(l.name, len(jobs))
	return jobs
}

// add puts jobs in the batch, and says how many are open then.
func (b *batch[In, Out]) add(jobs []*job[In, Out]) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range jobs {
		j.end = func() { b.left(j) }
		b.open[j] = context.AfterFunc(j.ctx, b.alone)
		b.lane.seen.Waited(b.lane.name, time.Since(j.since))
	}
	b.total += len(jobs)
	b.atOnce = max(b.atOnce, len(b.open))
	return len(b.open)
}

// left takes a finished job out.
func (b *batch[In, Out]) left(j *job[In, Out]) {
	l := b.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[j]() // stops watching
	delete(b.open, j)
	l.running = len(b.open)
	l.told()
}

// alone ends the batch if nobody waits for any of its jobs.
func (b *batch[In, Out]) alone() {
	b.mu.Lock()
	defer b.mu.Unlock()
	var cause error
	for j := range b.open {
		if j.ctx.Err() == nil {
			return
		}
		cause = context.Cause(j.ctx)
	}
	if cause != nil {
		b.cancel(cause)
	}
}

// fail finishes what is open.
func (b *batch[In, Out]) fail(err error) {
	b.mu.Lock()
	open := slices.Collect(maps.Keys(b.open))
	b.mu.Unlock()
	for _, j := range open {
		var none Out
		if j.ctx.Err() != nil {
			j.finish(none, context.Cause(j.ctx))
		}
		j.finish(none, err)
	}
}
