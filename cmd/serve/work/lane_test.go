package work

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// quiet is a Watcher that keeps the batches.
type quiet struct {
	mu      sync.Mutex
	batches []int
	steps   int
	joined  int
	most    int // waiting
}

func (q *quiet) Queue(_ string, waiting, _ int) {
	q.mu.Lock()
	q.most = max(q.most, waiting)
	q.mu.Unlock()
}
func (q *quiet) Waited(string, time.Duration) {}
func (q *quiet) Batch(_ string, n int, _ time.Duration) {
	q.mu.Lock()
	q.batches = append(q.batches, n)
	q.mu.Unlock()
}
func (q *quiet) Joined(_ string, n int) { q.mu.Lock(); q.joined += n; q.mu.Unlock() }
func (q *quiet) Steps(n int)            { q.mu.Lock(); q.steps += n; q.mu.Unlock() }

// gate is a lane whose batches wait until they are let go.
type gate struct {
	*lane[string, string]
	let   chan struct{}
	begun chan []string
}

func newGate(t *testing.T, most, room int) *gate {
	g := &gate{let: make(chan struct{}), begun: make(chan []string, 100)}
	g.lane = newLane("things", most, room, &quiet{}, func(b *batch[string, string]) {
		var names []string
		for _, j := range b.jobs {
			names = append(names, j.in)
		}
		g.begun <- names
		select {
		case <-g.let:
		case <-b.ctx.Done():
		}
		for _, j := range b.jobs {
			j.finish("done "+j.in, nil)
		}
	})
	t.Cleanup(func() { close(g.let); g.close(); <-g.ended })
	return g
}

func (g *gate) add(t *testing.T, client, key string, names ...string) []*job[string, string] {
	t.Helper()
	jobs, err := g.submit(t.Context(), Client(client), key, names)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

// TestFair: a client with a hundred jobs does not keep others waiting, batches have one
// key, and a client's jobs of a key keep their order.
func TestFair(t *testing.T) {
	g := newGate(t, 3, 100)
	g.add(t, "x", "k", "first")
	if have := <-g.begun; fmt.Sprint(have) != "[first]" {
		t.Fatalf("began with %v", have)
	}
	g.add(t, "a", "k", "a1", "a2", "a3", "a4", "a5")
	g.add(t, "b", "other", "b1")
	g.add(t, "c", "k", "c1", "c2")
	for _, want := range []string{"[a1 c1 a2]", "[b1]", "[c2 a3 a4]", "[a5]"} {
		g.let <- struct{}{}
		if have := fmt.Sprint(<-g.begun); have != want {
			t.Errorf("a batch of %s, want %s", have, want)
		}
	}
}

// TestRoom: what does not fit in a queue is refused whole, with a time.
func TestRoom(t *testing.T) {
	g := newGate(t, 1, 3)
	g.add(t, "x", "k", "first")
	<-g.begun
	g.add(t, "a", "k", "a1", "a2")
	_, err := g.submit(t.Context(), "b", "k", []string{"b1", "b2"})
	var busy *BusyError
	if !errors.As(err, &busy) || busy.Waiting != 2 || busy.After < time.Second {
		t.Errorf("have %v", err)
	}
	g.add(t, "b", "k", "b1")
	if _, err := g.submit(t.Context(), "b", "k", []string{"b2"}); !errors.As(err, &busy) {
		t.Errorf("have %v", err)
	}
}

// TestLeft: a job whose client has left goes out of the queue at once and makes room; a
// batch that nobody waits for any more is ended.
func TestLeft(t *testing.T) {
	g := newGate(t, 1, 1)
	first, leaveFirst := context.WithCancel(t.Context())
	jobs, err := g.submit(first, "x", "k", []string{"first"})
	if err != nil {
		t.Fatal(err)
	}
	<-g.begun
	second, leave := context.WithCancelCause(t.Context())
	waiting, err := g.submit(second, "a", "k", []string{"second"})
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	leave(gone)
	if _, err := waiting[0].wait(); !errors.Is(err, gone) {
		t.Errorf("have %v", err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, err = g.submit(t.Context(), "b", "k", []string{"third"}); err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		t.Errorf("no room was made: %v", err)
	}
	leaveFirst() // ends the batch without g.let
	if have := fmt.Sprint(<-g.begun); have != "[third]" {
		t.Errorf("then came %s", have)
	}
	if _, err := jobs[0].wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
}

// TestJoin: a batch takes more jobs of its key while it runs, up to its size less what is
// not finished, and none where it is another key's turn or nobody waits for it.
func TestJoin(t *testing.T) {
	runs, ended := make(chan *batch[int, int]), make(chan struct{})
	q := &quiet{}
	l := newLane("things", 3, 100, q, func(b *batch[int, int]) { runs <- b; <-ended })
	add := func(ctx context.Context, client Client, key string, n int) {
		t.Helper()
		if _, err := l.submit(ctx, client, key, make([]int, n)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	add(t.Context(), "a", "k", 1)
	b := <-runs
	join := func(n, want int) []*job[int, int] {
		t.Helper()
		jobs := b.join(n)
		if len(jobs) != want {
			t.Errorf("%d join, want %d", len(jobs), want)
		}
		return jobs
	}
	join(3, 0)
	add(t.Context(), "a", "k", 5)
	some := join(1, 1)
	join(5, 1) // of three at most one runs and one has joined
	join(5, 0)
	some[0].finish(1, nil)
	add(t.Context(), "b", "other", 1)
	join(5, 1) // of a, whose turn it was; now it is b's
	b.jobs[0].finish(1, nil)
	join(5, 0)
	if b.atOnce != 3 || b.total != 4 || q.joined != 3 {
		t.Errorf("%d at once of %d, %d joined; want 3, 4 and 3", b.atOnce, b.total, q.joined)
	}
	ended <- struct{}{}
	if b = <-runs; b.key != "other" {
		t.Errorf("then came %q", b.key)
	}
	b.jobs[0].finish(1, nil)
	ended <- struct{}{}
	b = <-runs // what a has left: two
	for _, j := range b.jobs {
		j.finish(1, nil)
	}
	add(ctx, "c", "k", 1)
	join(5, 1)
	leave()
	<-b.ctx.Done() // the one that was left
	add(t.Context(), "d", "k", 1)
	join(5, 0)
	ended <- struct{}{}
	b = <-runs
	l.close()
	close(ended)
	<-l.ended
}

// TestFault: a panic is the batch's error, and the lane goes on.
func TestFault(t *testing.T) {
	l := newLane("things", 2, 10, &quiet{}, func(b *batch[int, int]) {
		if b.jobs[0].in < 0 {
			panic("no")
		}
		b.jobs[0].finish(b.jobs[0].in, nil)
	})
	defer l.close()
	for _, in := range []int{-1, 5} {
		jobs, err := l.submit(t.Context(), "a", "", []int{in})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := jobs[0].wait(); (err != nil) != (in < 0) || in > 0 && out != in {
			t.Errorf("%d: %v, %v", in, out, err)
		}
	}
}

// TestTogether: what fails in a batch is tried alone, so that one job's fault is its own.
func TestTogether(t *testing.T) {
	l := newLane("things", 10, 10, &quiet{}, func(b *batch[int, int]) {
		together(b.jobs, func(some []*job[int, int]) ([]int, error) {
			var out []int
			for _, j := range some {
				if j.in == 3 {
					return nil, errors.New("three")
				}
				out = append(out, 10*j.in)
			}
			return out, nil
		})
	})
	defer l.close()
	jobs, err := l.submit(t.Context(), "a", "", []int{1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, j := range jobs {
		out, err := j.wait()
		have = append(have, fmt.Sprint(out, err))
	}
	if want := []string{"10 <nil>", "20 <nil>", "0 three", "40 <nil>"}; !slices.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
}

// TestClosed: nothing is taken any more, and what waits is done.
func TestClosed(t *testing.T) {
	l := newLane("things", 1, 10, &quiet{}, func(b *batch[int, int]) {
		time.Sleep(time.Millisecond)
		b.jobs[0].finish(1, nil)
	})
	jobs, err := l.submit(t.Context(), "a", "", []int{1, 2, 3, 4, 5})
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	<-l.ended
	for _, j := range jobs {
		if out, err := j.wait(); out != 1 || err != nil {
			t.Errorf("%v, %v", out, err)
		}
	}
	if _, err := l.submit(t.Context(), "a", "", []int{1}); !errors.Is(err, ErrClosed) {
		t.Errorf("have %v", err)
	}
}
