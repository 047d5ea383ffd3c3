package serve

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"parley/cmd/serve/jobs"
)

// task is a request that has been checked.
type task struct {
	title string // of its job
	// run does it in the context of a request, and gives its answer, and what of it a list
	// of jobs shows.
	run func(r *http.Request) (answer any, chosen string, err error)
}

// offer registers a route whose requests are tasks: done at once, or as a job in the
// background where the client prefers that.
func (s *Server) offer(pattern, kind string, prepare func(r *http.Request) (task, error)) {
	s.route(pattern, func(w http.ResponseWriter, r *http.Request) {
		t, err := prepare(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.do(w, r, kind, t)
	})
}

// async reports whether a client prefers an answer at once, with a job to look up (RFC 7240).
func async(r *http.Request) bool {
	for _, line := range r.Header.Values("Prefer") {
		for p := range strings.SplitSeq(line, ",") {
			p, _, _ = strings.Cut(p, ";")
			if strings.EqualFold(strings.TrimSpace(p), "respond-async") {
				return true
			}
		}
	}
	return false
}

// do does a task, and answers.
func (s *Server) do(w http.ResponseWriter, r *http.Request, kind string, t task) {
	if !async(r) {
		v, _, err := t.run(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, http.StatusOK, v)
		return
	}
	job, err := s.begin(kind, t.title)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, end := s.context(r, job, true)
	s.behind(w, r, job, func() { _ = end(t.run(r.WithContext(ctx))) })
}

// behind answers with a job, which goes on when the client leaves.
func (s *Server) behind(w http.ResponseWriter, r *http.Request, job jobs.Job, run func()) {
	s.background.Go(run)
	w.Header().Set("Location", "/v1/jobs/"+job.ID)
	if async(r) {
		w.Header().Set("Preference-Applied", "respond-async")
	}
	s.write(w, http.StatusAccepted, job)
}

// begin notes a job.
func (s *Server) begin(kind, title string) (jobs.Job, error) {
	job, err := s.o.Jobs.Begin(kind, title)
	if err != nil {
		s.o.Log.Print(err)
		err = &apiError{http.StatusInsufficientStorage, "not_stored", "", "the server cannot keep jobs now"}
	}
	return job, err
}

// context is what a job is done in; in the background it outlives the request, not the
// server's patience. end notes what came of it, and gives its error.
func (s *Server) context(r *http.Request, job jobs.Job, background bool) (ctx context.Context, end func(any, string, error) error) {
	ctx, stop := r.Context(), func() {}
	if background {
		ctx, stop = context.WithTimeoutCause(context.WithoutCancel(ctx), s.o.Deadline, errDeadline)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.cancels.add(job.ID, cancel)
	return ctx, func(result any, chosen string, err error) error {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		job.Chosen = chosen
		s.cancels.cancel(job.ID, nil)
		if failed := s.o.Jobs.End(job, result, err, errors.Is(err, errCancelled) || errors.Is(err, context.Canceled)); failed != nil {
			s.o.Log.Print(failed)
		}
		cancel(nil)
		stop()
		return err
	}
}

// ofJobs registers the routes of jobs.
func (s *Server) ofJobs() {
	s.handle("GET /v1/jobs", func(*http.Request) (any, error) {
		list, err := s.o.Jobs.List(mostListed)
		return map[string]any{"data": list}, err
	})
	s.handle("GET /v1/jobs/{id}", func(r *http.Request) (any, error) {
		j, err := s.o.Jobs.Get(r.PathValue("id"))
		if errors.Is(err, jobs.ErrNone) {
			err = &apiError{http.StatusNotFound, "not_found", "id", err.Error()}
		}
		return j, err
	})
	s.handle("DELETE /v1/jobs/{id}", func(r *http.Request) (any, error) {
		j, err := s.o.Jobs.Get(r.PathValue("id"))
		if errors.Is(err, jobs.ErrNone) {
			return nil, &apiError{http.StatusNotFound, "not_found", "id", err.Error()}
		}
		if !s.cancels.cancel(j.ID, errCancelled) {
			return nil, &apiError{http.StatusConflict, "ended", "id", "the job has ended: it is " + string(j.State)}
		}
		return map[string]any{"id": j.ID, "state": jobs.Cancelled}, err
	})
}

// mostListed is how many jobs a list has.
const mostListed = 200

// errCancelled is why a job ends that a client has cancelled.
var errCancelled = errors.New("the job was cancelled")

// cancels are what ends the jobs that run.
type cancels struct {
	mu   sync.Mutex
	byID map[string]context.CancelCauseFunc
}

func (c *cancels) add(id string, f context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = map[string]context.CancelCauseFunc{}
	}
	c.byID[id] = f
}

// all ends what runs.
func (c *cancels) all(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.byID {
		f(why)
	}
	clear(c.byID)
}

func (c *cancels) cancel(id string, why error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.byID[id]
	delete(c.byID, id)
	if ok {
		f(why)
	}
	return ok
}
