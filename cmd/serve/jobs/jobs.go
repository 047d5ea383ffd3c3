// Package jobs keeps what a server was asked to do and what came of it, in a file that
// outlives the server, or in memory.
package jobs

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// State is how far a job is.
type State string

// The states.
const (
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Job is a piece of work.
type Job struct {
	ID      string          `json:"id"`
	Kind    string          `json:"kind"`
	Title   string          `json:"title"`
	State   State           `json:"state"`
	Created time.Time       `json:"created"`
	Ended   *time.Time      `json:"ended,omitempty"`
	Error   string          `json:"error,omitempty"`
	Chosen  string          `json:"chosen,omitempty"` // what came of it, in a word
	Result  json.RawMessage `json:"result,omitempty"`
}

// Store keeps jobs, the newest Keep of them.
type Store struct {
	keep int
	db   *bbolt.DB // nil: memory alone

	mu     sync.Mutex
	memory map[string]Job // those that run, that could not be written, and all without a file
}

// ErrNone is a job that is not there.
var ErrNone = errors.New("there is no such job, or no longer")

// Results lie apart, so that a list does not read them.
var bucket, results = []byte("jobs"), []byte("results")

// stopped is why a job ended that ran when its server ended.
const stopped = "the server was stopped before it was done"

// Open opens a store in a file, which is made where it is not; "" keeps jobs in memory.
// Jobs that ran when an earlier server ended have failed. A file that another server has
// open is an error.
func Open(path string, keep int) (*Store, error) {
	s := &Store{keep: keep, memory: map[string]Job{}}
	if path == "" {
		return s, nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		if errors.Is(err, bbolterrors.ErrTimeout) {
			err = errors.New("another server has it open")
		}
		var p *fs.PathError
		if errors.As(err, &p) {
			return nil, fmt.Errorf("jobs: %w", err)
		}
		return nil, fmt.Errorf("jobs: %s: %w", path, err)
	}
	s.db = db
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(results)
		}
		if err != nil {
			return err
		}
		now := time.Now()
		return b.ForEach(func(k, v []byte) error {
			var j Job
			if err := json.Unmarshal(v, &j); err != nil {
				return fmt.Errorf("job %s: %w", k, err)
			}
			if j.State != Running {
				return nil
			}
			j.State, j.Error, j.Ended = Failed, stopped, &now
			return put(b, j)
		})
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("jobs: %s: %w", path, err), db.Close())
	}
	return s, nil
}

// Close closes the file.
func (s *Store) Close() error {
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

// idLength is that of an ID.
const idLength = 24

// key sorts jobs by when they were made.
func key(j Job) []byte { return []byte(j.Created.UTC().Format("20060102T150405.000000000") + j.ID) }

func put(b *bbolt.Bucket, j Job) error {
	j.Result = nil
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return b.Put(key(j), data)
}

// Begin notes a job that runs.
func (s *Store) Begin(kind, title string) (Job, error) {
	var id [12]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Job{}, err
	}
	j := Job{ID: hex.EncodeToString(id[:]), Kind: kind, Title: title, State: Running, Created: time.Now()}
	err := s.write(j)
	if err != nil { // nobody will end it
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.memory, j.ID)
	}
	return j, err
}

// End notes what came of a job.
func (s *Store) End(j Job, result any, err error, cancelled bool) error {
	now := time.Now()
	j.Ended, j.State = &now, Done
	if err != nil {
		if j.State, j.Error = Failed, err.Error(); cancelled {
			j.State = Cancelled
		}
	} else if j.Result, err = json.Marshal(result); err != nil {
		return err
	}
	return s.write(j)
}

// write puts a job where it outlives the server, and drops the oldest beyond Keep. What
// cannot be written stays in memory, of which the same holds.
func (s *Store) write(j Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory[j.ID] = j
	list := s.sorted()
	for _, old := range list[min(len(list), s.keep):] {
		if old.State != Running {
			delete(s.memory, old.ID)
		}
	}
	if s.db == nil {
		return nil
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b, r := tx.Bucket(bucket), tx.Bucket(results)
		if err := put(b, j); err != nil {
			return err
		}
		if j.Result != nil {
			if err := r.Put([]byte(j.ID), j.Result); err != nil {
				return err
			}
		}
		c := b.Cursor()
		n := 0
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			n++
		}
		for k, _ := c.First(); k != nil && n > s.keep; k, _ = c.Next() {
			if err := errors.Join(r.Delete(k[len(k)-idLength:]), b.Delete(k)); err != nil {
				return err
			}
			n--
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	if j.State != Running {
		delete(s.memory, j.ID)
	}
	return nil
}

// sorted are those in memory, the newest first.
func (s *Store) sorted() []Job {
	list := make([]Job, 0, len(s.memory))
	for _, j := range s.memory {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b Job) int { return strings.Compare(string(key(b)), string(key(a))) })
	return list
}

// List is at most n jobs, the newest first, without their results.
func (s *Store) List(n int) ([]Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.sorted()
	if s.db != nil {
		err := s.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucket).Cursor()
			for k, v := c.Last(); k != nil && len(list) < n+len(s.memory); k, v = c.Prev() {
				var j Job
				if err := json.Unmarshal(v, &j); err != nil {
					return err
				}
				if _, ok := s.memory[j.ID]; !ok {
					list = append(list, j)
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("jobs: %w", err)
		}
		slices.SortFunc(list, func(a, b Job) int { return strings.Compare(string(key(b)), string(key(a))) })
	}
	list = list[:min(n, len(list))]
	for i := range list {
		list[i].Result = nil
	}
	return list, nil
}

// Get is a job with its result.
func (s *Store) Get(id string) (Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j, ok := s.memory[id]; ok {
		return j, nil
	}
	found := Job{}
	if s.db != nil {
		err := s.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
				if len(id) != idLength || string(k[len(k)-idLength:]) != id {
					return nil
				}
				found.Result = slices.Clone(tx.Bucket(results).Get([]byte(id)))
				return json.Unmarshal(v, &found)
			})
		})
		if err != nil {
			return found, fmt.Errorf("jobs: %w", err)
		}
	}
	if found.ID == "" {
		return found, ErrNone
	}
	return found, nil
}
