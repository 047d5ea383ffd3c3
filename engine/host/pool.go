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
	busy  sync.Mutex   // the caller's whose task it is
	here  atomic.Int64 // workers that will see the next task
	epoch atomic.Int64 // counts the tasks: odd while one is open to helpers
	start func()       // work, which go takes without an allocation
	_     [64]byte     // what idle workers look at shares no line with what others count
	task  task         // of who has busy, one after the other
}

// task is one call of Run.
type task struct {
	n       int64
	j       Job
	most    int64        // workers that may help
	next    atomic.Int64 // i to be done
	joined  atomic.Int64
	active  atomic.Int64 // the caller and its helpers; none may join when there is none
	waiting atomic.Bool  // the caller sleeps until
	done    chan struct{}
	failed  atomic.Pointer[fault]
}

type fault struct{ value any }

// start makes t a task of n pieces. Nobody is active in it.
func (t *task) start(n, most int, j Job) {
	t.n, t.j, t.most = int64(n), j, int64(most)
	if t.done == nil {
		t.done = make(chan struct{}, 1)
	}
	t.next.Store(0)
	t.joined.Store(0)
	t.waiting.Store(false)
	t.failed.Store(nil)
	t.active.Store(1) // from here on others may join
}

// do runs a job of n pieces, with as many helpers as most.
func (p *pool) do(n, most int, j Job) {
	t := &p.task
	if p.busy.TryLock() {
		defer p.busy.Unlock()
		t.start(n, most, j)
		if p.start == nil {
			p.start = p.work
		}
		p.epoch.Add(1)
		for range int64(most) - p.here.Load() {
			p.here.Add(1)
			go p.start()
		}
		t.loop()
		p.epoch.Add(1)
	} else { // beside another caller's
		t = &task{}
		t.start(n, most, j)
		for range most {
			go t.help()
		}
		t.loop()
	}
	t.leave()
	t.wait()
	t.j = nil
	if f := t.failed.Load(); f != nil {
		panic(f.value)
	}
}

// work helps until nothing has come for a while.
func (p *pool) work() {
	last := int64(0)
	for {
		since := time.Now()
		for time.Since(since) < linger {
			for range 16 {
				if e := p.epoch.Load(); e&1 == 1 && e != last {
					p.task.help()
					last, since = e, time.Now()
				}
				pause()
			}
		}
		p.here.Add(-1)
		// Whoever counted on this worker has to find it, or see that it is gone.
		if e := p.epoch.Load(); e&1 == 0 || e == last {
			return
		}
		p.here.Add(1)
	}
}

// help joins a task that is not over. The pool's task may be another one by now:
// then that is helped.
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
			t.failed.CompareAndSwap(nil, &fault{r})
		}
	}()
	for {
		i := t.next.Add(1) - 1
		if i >= t.n {
			return
		}
		t.j.Do(int(i))
	}
}

func (t *task) leave() {
	if t.active.Add(-1) == 0 && t.waiting.Load() {
		select {
		case t.done <- struct{}{}:
		default: // there is a word already
		}
	}
}

// wait returns when the last helper has left. A word may be an earlier task's: it is
// the count that says.
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
	for t.active.Load() > 0 {
		<-t.done
	}
}
