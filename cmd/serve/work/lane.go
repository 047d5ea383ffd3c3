package work

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Client is whose work it is: fairness is between clients.
type Client string

// ErrClosed says that no new work is taken.
var ErrClosed = errors.New("the server is stopping")

// BusyError says that a queue is full.
type BusyError struct {
	Lane    string
	Waiting int
	After   time.Duration // when to ask again, by how long work took lately
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%d %s are waiting already: ask again in %v", e.Waiting, e.Lane, e.After.Round(time.Second))
}

// job is a piece of work that waits for its batch.
type job[In, Out any] struct {
	ctx    context.Context
	client Client
	key    string // jobs of one key may share a batch
	in     In
	since  time.Time // it waits

	once sync.Once
	end  func() // leaves the batch that it is in, if any
	done chan struct{}
	out  Out
	err  error
}

// finish tells who waits; only the first call counts.
func (j *job[In, Out]) finish(out Out, err error) {
	j.once.Do(func() {
		j.out, j.err = out, err
		if j.end != nil {
			j.end()
		}
		close(j.done)
	})
}

// lane works off one kind of jobs, a batch at a time: clients in turn, and with the job
// whose turn it is the others of its key, of all clients in turn.
type lane[In, Out any] struct {
	name string
	most int // jobs of a batch
	room int // jobs that may wait
	// work finishes every job of a batch.
	work func(b *batch[In, Out])
	seen Watcher

	mu      sync.Mutex
	queues  map[Client][]*job[In, Out]
	turns   []Client // those with a queue, the next first
	waiting int
	now     *batch[In, Out] // nil: none runs
	running int             // jobs of it that are not finished
	closed  bool
	pace    time.Duration // of a job lately
	wake    chan struct{}
	ended   chan struct{}
}

func newLane[In, Out any](name string, most, room int, seen Watcher, work func(*batch[In, Out])) *lane[In, Out] {
	l := &lane[In, Out]{name: name, most: most, room: room, seen: seen, work: work,
		queues: map[Client][]*job[In, Out]{}, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go l.run()
	return l
}

// submit queues jobs, all or none of them.
func (l *lane[In, Out]) submit(ctx context.Context, client Client, key string, ins []In) ([]*job[In, Out], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if l.waiting+len(ins) > l.room {
		after := max(time.Second, l.pace*time.Duration(l.waiting+l.running+len(ins)-l.room))
		return nil, &BusyError{l.name, l.waiting, after}
	}
	jobs := make([]*job[In, Out], len(ins))
	now := time.Now()
	for i, in := range ins {
		j := &job[In, Out]{ctx: ctx, client: client, key: key, in: in, since: now, done: make(chan struct{})}
		jobs[i] = j
	}
	if len(l.queues[client]) == 0 {
		l.turns = append(l.turns, client)
	}
	l.queues[client] = append(l.queues[client], jobs...)
	l.waiting += len(jobs)
	l.told()
	context.AfterFunc(ctx, func() { l.drop(client, jobs) })
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return jobs, nil
}

// drop takes jobs that nobody waits for out of the queue. Those that run see their
// context themselves.
func (l *lane[In, Out]) drop(client Client, jobs []*job[In, Out]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queues[client]
	kept := queue[:0:0]
	for _, j := range queue {
		if slices.Contains(jobs, j) {
			var none Out
			j.finish(none, context.Cause(j.ctx))
			l.waiting--
			continue
		}
		kept = append(kept, j)
	}
	l.put(client, kept)
	l.told()
}

// put replaces a client's queue.
func (l *lane[In, Out]) put(client Client, queue []*job[In, Out]) {
	if len(queue) > 0 {
		l.queues[client] = queue
		return
	}
	delete(l.queues, client)
	l.turns = slices.DeleteFunc(l.turns, func(c Client) bool { return c == client })
}

// next begins a batch of what is in the queues; nil where nothing waits.
func (l *lane[In, Out]) next() *batch[In, Out] {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = nil
	if len(l.turns) == 0 {
		return nil
	}
	b := &batch[In, Out]{lane: l, key: l.queues[l.turns[0]][0].key, since: time.Now(), open: map[*job[In, Out]]func() bool{}}
	b.ctx, b.cancel = context.WithCancelCause(context.Background())
	l.now = b
	b.jobs = l.take(b, l.most)
	return b
}

// take moves at most n jobs of a batch's key into it, of clients in turn. Who is next has
// one of them, and is last then.
func (l *lane[In, Out]) take(b *batch[In, Out], n int) (jobs []*job[In, Out]) {
	first := l.turns[0]
	for more := true; more && len(jobs) < n; {
		more = false
		for _, c := range slices.Clone(l.turns) {
			queue := l.queues[c]
			i := slices.IndexFunc(queue, func(j *job[In, Out]) bool { return j.key == b.key })
			if i < 0 || len(jobs) == n {
				continue
			}
			jobs, more = append(jobs, queue[i]), true
			l.put(c, slices.Delete(slices.Clone(queue), i, i+1))
		}
	}
	if i := slices.Index(l.turns, first); i >= 0 {
		l.turns = append(slices.Delete(l.turns, i, i+1), first)
	}
	l.waiting -= len(jobs)
	l.running = b.add(jobs)
	l.told()
	return jobs
}

func (l *lane[In, Out]) told() { l.seen.Queue(l.name, l.waiting, l.running) }

// run works until the lane is closed and empty.
func (l *lane[In, Out]) run() {
	defer close(l.ended)
	for {
		b := l.next()
		if b == nil {
			l.mu.Lock()
			closed := l.closed
			l.mu.Unlock()
			if closed {
				return
			}
			<-l.wake
			continue
		}
		l.guarded(b)
		b.cancel(nil)
		took := time.Since(b.since)
		l.seen.Batch(l.name, b.atOnce, took)
		l.mu.Lock()
		l.pace += (took/time.Duration(b.total) - l.pace) / 4
		l.mu.Unlock()
	}
}

// guarded works on a batch, and finishes what the work has not.
func (l *lane[In, Out]) guarded(b *batch[In, Out]) {
	err := errors.New("the work gave no result")
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of the program: %v", r)
		}
		b.fail(err)
	}()
	l.work(b)
}

// close takes no new jobs; what waits is finished.
func (l *lane[In, Out]) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// wait waits for a job's result, or for the end of its context.
func (j *job[In, Out]) wait() (Out, error) {
	select {
	case <-j.done:
		return j.out, j.err
	case <-j.ctx.Done():
		select {
		case <-j.done:
			return j.out, j.err
		default:
		}
		var none Out
		return none, context.Cause(j.ctx)
	}
}
