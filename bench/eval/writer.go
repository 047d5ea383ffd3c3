package eval

import (
	"errors"
	"time"
)

// writer writes what is done while the nets work on: one batch at a time.
type writer struct {
	folder *folder
	keep   string // the format of pictures; "": none
	queue  chan written
	done   chan struct{}
	n      int   // items that are written, and
	err    error // both good when done is closed
}

// written is a batch, and what each item of it took.
type written struct {
	list []*Scored
	took time.Duration
}

func newWriter(f *folder, keep string) *writer {
	w := &writer{folder: f, keep: keep, queue: make(chan written), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for b := range w.queue {
			if w.err = errors.Join(w.write(b), f.sync()); w.err != nil {
				return
			}
		}
	}()
	return w
}

// put waits for the batch before, and hands one on; false where that failed.
func (w *writer) put(list []*Scored, took time.Duration) bool {
	select {
	case w.queue <- written{list, took}:
		return true
	case <-w.done:
		return false
	}
}

// close waits for the last batch.
func (w *writer) close() error {
	close(w.queue)
	<-w.done
	return w.err
}

func (w *writer) write(b written) error {
	for _, x := range b.list {
		r := x.Record
		if x.Picture != nil {
			r.Pixels = hashPicture(x.Picture)
		}
		t := times{Index: r.Index, ID: r.ID, Seconds: b.took.Seconds()}
		for i, c := range x.Result.Candidates {
			t.Caption += c.Time.Caption.Seconds()
			t.Draw += c.Time.Draw.Seconds()
			t.Judge += c.Time.Judge.Seconds()
			if w.keep == "" || c.Picture == nil || c.Duplicate >= 0 {
				continue
			}
			name, err := w.folder.picture(c.Picture, r.Index, i, w.keep)
			if err != nil {
				return err
			}
			r.Candidates[i].Picture = name
		}
		for i, c := range x.Result.Candidates {
			if c.Duplicate >= 0 && i < len(r.Candidates) {
				r.Candidates[i].Picture = r.Candidates[c.Duplicate].Picture
			}
		}
		if err := w.folder.append(r, t); err != nil {
			return err
		}
		w.n++
	}
	return nil
}
