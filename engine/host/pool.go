package host

import (
	"sync"
	"sync/atomic"
	"time"
)

// linger is how long a worker looks out for more work before it goes. To wake a
// core takes as long as many operations do, on virtual machines 0.1 ms; within a
// net the next one comes sooner.
const linger = time.Millisecond

// pool is the workers of a device beside its callers. They are there while work
// comes, and need not be stopped.
type pool struct {
	busy sync.Mutex // the caller's whose task it is
	task atomic.Pointer[task]
	here atomic.Int64 // workers that will see the next task
}

// task is one call of For.
type task struct {
	n       int64
	f       func(i int)
	most    int64        // workers that may help
	next    atomic.Int64 // i to be done
	joined  atomic.Int64
	active  atomic.Int64 // the caller and its helpers; none may join when there is none
	waiting atomic.Bool  // the caller sleeps until
	done    chan struct{}
	failed  atomic.Value // a fault
}

type fault struct{ value any }

// do calls f(i) for every i below n, with as many helpers as most.
func (p *pool) do(n, most int, f func(i int)) {
	t := &task{n: int64(n), f: f, most: int64(most), done: make(chan struct{}, 1)}
	t.active.Store(1)
	if p.busy.TryLock() {
		p.task.Store(t)
		for range int64(most) - p.here.Load() {
			p.here.Add(1)
			go p.work()
		}
		t.loop()
		p.task.Store(nil)
		p.busy.Unlock()
	} else { // beside another caller's
		for range most {
			go t.help()
		}
		t.loop()
	}
	t.leave()
	t.wait()
	if v, ok := t.failed.Load().(fault); ok {
		panic(v.value)
	}
}

// work helps until nothing has come for a while.
func (p *pool) work() {
	var last *task
	for {
		since := time.Now()
		for time.Since(since) < linger {
			for range 16 {
				if t := p.task.Load(); t != nil && t != last {
					t.help()
					last, since = t, time.Now()
				}
				pause()
			}
		}
		p.here.Add(-1)
		// Whoever counted on this worker has to find it, or see that it is gone.
		if t := p.task.Load(); t == nil || t == last {
			return
		}
		p.here.Add(1)
	}
}

// help joins a task that is not over.
func (t *task) help() {
	for {
		a := t.active.Load()
		if a == 0 {
			return
		}
		if t.active.CompareAndSwap(a, a+1) {
			break
		}
	}
	if t.joined.Add(1) <= t.most {
		t.loop()
	}
	t.leave()
}

func (t *task) loop() {
	// A fault in a worker would end the process; the caller's goroutine has to
	// have it, where a test or a command can say what happened.
	defer func() {
		if r := recover(); r != nil {
			t.failed.CompareAndSwap(nil, fault{r})
		}
	}()
	for {
		i := t.next.Add(1) - 1
		if i >= t.n {
			return
		}
		t.f(int(i))
	}
}

func (t *task) leave() {
	if t.active.Add(-1) == 0 && t.waiting.Load() {
		t.done <- struct{}{}
	}
}

// wait returns when the last helper has left.
func (t *task) wait() {
	for since := time.Now(); time.Since(since) < linger; {
		for range 16 {
			if t.active.Load() == 0 {
				return
			}
			pause()
		}
	}
	t.waiting.Store(true)
	if t.active.Load() > 0 {
		<-t.done
	}
}
