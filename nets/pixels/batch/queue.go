package batch

import (
	"context"
	"iter"
	"sync"

	"parley/nets/pixels"
)

// Item is a source with its picture, or with why there is none.
type Item struct {
	Source
	Picture *pixels.Image
}

// What is decoded ahead at most.
const (
	aheadItems = 32
	aheadBytes = 96 << 20 // of pixels; one picture may have more
	decoders   = 2        // nets have the other cores
	groupBytes = 96 << 20
)

// Groups hands pictures on in groups of at most size, in the order of the
// sources, and decodes the next ones meanwhile. A group has fewer where its
// pictures are large. Sources that cannot be read are in their place, with
// Err. It ends when the context does.
func Groups(ctx context.Context, sources iter.Seq[Source], size int) iter.Seq[[]Item] {
	return func(yield func([]Item) bool) {
		ctx, cancel := context.WithCancel(ctx)
		q := queue{budget: newBudget(), slots: make(chan *slot, aheadItems)}
		go q.feed(ctx, sources) // it may wait for a pipe: nobody waits for it
		defer cancel()
		defer context.AfterFunc(ctx, q.budget.close)()
		var group []Item
		bytes := 0
		flush := func() bool {
			ok := len(group) == 0 || yield(group)
			group, bytes = nil, 0
			return ok
		}
		for {
			s := q.next(ctx)
			if ctx.Err() != nil {
				return
			}
			if s == nil {
				flush()
				return
			}
			q.budget.give(s.bytes)
			group, bytes = append(group, s.item), bytes+s.bytes
			if (len(group) == size || bytes >= groupBytes) && !flush() {
				return
			}
		}
	}
}

// slot is an item that is being decoded.
type slot struct {
	item  Item
	bytes int
	done  chan struct{}
}

type queue struct {
	budget *budget
	slots  chan *slot // in the order of the sources
}

// next waits for the next slot to be decoded; nil: there is none, or the context
// has ended.
func (q *queue) next(ctx context.Context) *slot {
	select {
	case s := <-q.slots:
		if s != nil {
			select {
			case <-s.done:
			case <-ctx.Done():
			}
		}
		return s
	case <-ctx.Done():
		return nil
	}
}

// feed decodes what the sources name, some at once.
func (q *queue) feed(ctx context.Context, sources iter.Seq[Source]) {
	defer close(q.slots)
	free := make(chan struct{}, decoders)
	for src := range sources {
		if !q.budget.wait() {
			return
		}
		s := &slot{item: Item{Source: src}, done: make(chan struct{})}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		go func() {
			defer func() { <-free }()
			s.item.Picture, s.item.Err = src.Read()
			if s.item.Picture != nil {
				s.bytes = len(s.item.Picture.Pix)
			}
			q.budget.take(s.bytes)
			close(s.done)
		}()
		select {
		case q.slots <- s:
		case <-ctx.Done():
			return
		}
	}
}

// budget is the memory of the pictures that are decoded and not handed on.
type budget struct {
	mu     sync.Mutex
	change sync.Cond
	bytes  int
	closed bool
}

func newBudget() *budget {
	b := &budget{}
	b.change.L = &b.mu
	return b
}

// wait waits until another picture may be decoded; false: none any more.
func (b *budget) wait() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.bytes >= aheadBytes && !b.closed {
		b.change.Wait()
	}
	return !b.closed
}

func (b *budget) take(n int) {
	b.mu.Lock()
	b.bytes += n
	b.mu.Unlock()
}

func (b *budget) give(n int) {
	b.mu.Lock()
	b.bytes -= n
	b.mu.Unlock()
	b.change.Broadcast()
}

func (b *budget) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.change.Broadcast()
}
