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
	done chan struct{}
	out  Out
	err  error
}

// finish tells who waits; only the first call counts.
func (j *job[In, Out]) finish(out Out, err error) {
	j.once.Do(func() {
		j.out, j.err = out, err
		close(j.done)
	})
}

// lane works off one kind of jobs, a batch at a time: clients in turn, and with the job
// whose turn it is the others of its key, of all clients in turn.
type lane[In, Out any] struct {
	name string
	most int // jobs of a batch
	room int // jobs that may wait
	// work finishes every job of a batch. ctx ends when nobody waits for any of them.
	work func(ctx context.Context, batch []*job[In, Out])
	seen Watcher

	mu      sync.Mutex
	queues  map[Client][]*job[In, Out]
	turns   []Client // those with a queue, the next first
	waiting int
	running int
	closed  bool
	pace    time.Duration // of a job lately
	wake    chan struct{}
	ended   chan struct{}
}

func newLane[In, Out any](name string, most, room int, seen Watcher, work func(context.Context, []*job[In, Out])) *lane[In, Out] {
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

// next takes a batch out of the queues; nil where nothing waits.
func (l *lane[In, Out]) next() []*job[In, Out] {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.turns) == 0 {
		return nil
	}
	first := l.turns[0]
	key := l.queues[first][0].key
	var batch []*job[In, Out]
	for more := true; more && len(batch) < l.most; {
		more = false
		for _, c := range slices.Clone(l.turns) {
			queue := l.queues[c]
			i := slices.IndexFunc(queue, func(j *job[In, Out]) bool { return j.key == key })
			if i < 0 || len(batch) == l.most {
				continue
			}
			batch, more = append(batch, queue[i]), true
			l.put(c, slices.Delete(slices.Clone(queue), i, i+1))
		}
	}
	// Who was first is last now.
	if i := slices.Index(l.turns, first); i >= 0 {
		l.turns = append(slices.Delete(l.turns, i, i+1), first)
	}
	l.waiting -= len(batch)
	l.running = len(batch)
	l.told()
	return batch
}

func (l *lane[In, Out]) told() { l.seen.Queue(l.name, l.waiting, l.running) }

// run works until the lane is closed and empty.
func (l *lane[In, Out]) run() {
	defer close(l.ended)
	for {
		batch := l.next()
		if batch == nil {
			l.mu.Lock()
			closed := l.closed
			l.mu.Unlock()
			if closed {
				return
			}
			<-l.wake
			continue
		}
		start := time.Now()
		for _, j := range batch {
			l.seen.Waited(l.name, start.Sub(j.since))
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		stop := whenAllEnd(batch, cancel)
		l.guarded(ctx, batch)
		stop()
		cancel(nil)
		took := time.Since(start)
		l.seen.Batch(l.name, len(batch), took)
		l.mu.Lock()
		l.running = 0
		each := took / time.Duration(len(batch))
		l.pace += (each - l.pace) / 4
		l.told()
		l.mu.Unlock()
	}
}

// guarded works on a batch, and finishes what the work has not.
func (l *lane[In, Out]) guarded(ctx context.Context, batch []*job[In, Out]) {
	err := errors.New("the work gave no result")
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of the program: %v", r)
		}
		for _, j := range batch {
			var none Out
			if e := j.ctx.Err(); e != nil {
				j.finish(none, context.Cause(j.ctx))
			}
			j.finish(none, err)
		}
	}()
	l.work(ctx, batch)
}

// whenAllEnd calls end when all jobs' contexts have ended.
func whenAllEnd[In, Out any](batch []*job[In, Out], end context.CancelCauseFunc) (stop func()) {
	var mu sync.Mutex
	left := len(batch)
	var stops []func() bool
	for _, j := range batch {
		stops = append(stops, context.AfterFunc(j.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				end(context.Cause(j.ctx))
			}
		}))
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
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
