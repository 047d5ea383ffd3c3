package serve

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"parley/cmd/serve/jobs"
	"parley/cmd/serve/work"
	"parley/engine"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
	"parley/nets/rerank/results"
)

// own registers Parley's own routes.
func (s *Server) own() {
	s.handle("POST /v1/caption", s.caption)
	s.handle("POST /v1/score", s.score)
	s.route("POST /v1/reconstruct", s.reconstruct)
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

type captionRequest struct {
	Image  string   `json:"image"`
	K      *int     `json:"k"`
	Seed   uint64   `json:"seed"`
	Prompt *string  `json:"prompt"`
	Beam   *int     `json:"beam"`
	TopP   *float64 `json:"top_p"`
}

// caption describes a picture: k captions, of which one comes from beam search and more
// are sampled.
func (s *Server) caption(r *http.Request) (any, error) {
	var q captionRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	k := 1
	if q.K != nil {
		k = *q.K
	}
	if k < 1 || k > s.o.N {
		return nil, wrong("k", "%d: want 1 to %d", k, s.o.N)
	}
	o := models.Nucleus()
	switch {
	case q.Beam != nil && q.TopP != nil:
		return nil, wrong("beam", "is beam search, top_p is sampling: choose one")
	case q.Beam != nil:
		if *q.Beam < 1 || *q.Beam > 64 {
			return nil, wrong("beam", "%d: want 1 to 64", *q.Beam)
		}
		o = models.Beam()
		o.Beams = *q.Beam
	case q.TopP != nil:
		if !(*q.TopP > 0 && *q.TopP <= 1) {
			return nil, wrong("top_p", "%v: want more than 0, at most 1", *q.TopP)
		}
		o.TopP = *q.TopP
	case k == 1:
		o = models.Beam()
	}
	if q.Prompt != nil {
		if len(*q.Prompt) > s.o.Text {
			return nil, wrong("prompt", "a prompt may have %d bytes", s.o.Text)
		}
		o.Prompt = *q.Prompt
	}
	m, err := s.picture("image", q.Image)
	if err != nil {
		return nil, err
	}
	list, err := s.work.Caption(r.Context(), client(r), m, k, q.Seed, o)
	if err != nil {
		return nil, err
	}
	type caption struct {
		Text  string  `json:"text"`
		Score float64 `json:"score"`
		Error string  `json:"error,omitempty"`
	}
	out := []caption{}
	for _, c := range list {
		e := caption{Text: c.Text, Score: c.Score}
		if c.Err != nil {
			e.Score, e.Error = 0, c.Err.Error()
		}
		out = append(out, e)
	}
	return map[string]any{"captions": out}, nil
}

type scoreRequest struct {
	Images []string `json:"images"`
	Texts  []string `json:"texts"`
}

// score is the cosine of each picture with each text: a row for each picture.
func (s *Server) score(r *http.Request) (any, error) {
	var q scoreRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if len(q.Images) == 0 || len(q.Texts) == 0 || len(q.Images)+len(q.Texts) > mostInputs {
		return nil, wrong("images", "want images and texts, %d at most of both", mostInputs)
	}
	var inputs []input
	for i, text := range q.Images {
		m, err := s.picture(fmt.Sprintf("images[%d]", i), text)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, input{image: m})
	}
	for i, text := range q.Texts {
		if text == "" || len(text) > s.o.Text {
			return nil, wrong(fmt.Sprintf("texts[%d]", i), "a text has 1 to %d bytes", s.o.Text)
		}
		inputs = append(inputs, input{text: text})
	}
	rows, err := s.embed(r, inputs)
	if err != nil {
		return nil, err
	}
	n := len(q.Images)
	scores := make([][]float64, n)
	for i, x := range rows[:n] {
		for _, y := range rows[n:] {
			sum := 0.0
			for k, v := range x {
				sum += float64(v) * float64(y[k])
			}
			scores[i] = append(scores[i], sum)
		}
	}
	return map[string]any{"scores": scores}, nil
}

// reconstruction is a request of a loop: an image or a text.
type reconstruction struct {
	Image     string   `json:"image"`
	Text      string   `json:"text"`
	K         *int     `json:"k"`
	Seed      *int64   `json:"seed"`
	Steps     *int     `json:"steps"`
	Guidance  *float64 `json:"guidance"`
	Scheduler string   `json:"scheduler"`
	Negative  string   `json:"negative_prompt"`
	Size      string   `json:"size"`
	Previews  int      `json:"previews"`
	Stream    bool     `json:"stream"`
	// Background answers at once with a job, which goes on when the client leaves.
	Background bool `json:"background"`
}

// reconstruct runs a loop and answers with its result, with events as it goes ("job",
// "captions", "step", "candidate" and at the end "result" or "error"), or at once with the
// job that it is. Every reconstruction is a job that can be looked up.
func (s *Server) reconstruct(w http.ResponseWriter, r *http.Request) {
	var q reconstruction
	err := decode(r, &q)
	var l rerank.Loop
	var src rerank.Source
	events := &queue{ready: make(chan struct{}, 1)}
	if err == nil && q.Background && q.Stream {
		err = wrong("background", "answers at once, stream as it goes: choose one")
	}
	if err == nil {
		l, src, err = s.loop(r, q, events)
	}
	var job jobs.Job
	if err == nil {
		if job, err = s.o.Jobs.Begin("reconstruct", src.Name); err != nil {
			s.o.Log.Print(err)
			err = &apiError{http.StatusInsufficientStorage, "not_stored", "", "the server cannot keep jobs now"}
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, stop := r.Context(), func() {}
	if q.Background { // it outlives the request, not the server's patience
		ctx, stop = context.WithTimeoutCause(context.WithoutCancel(ctx), s.o.Deadline, errDeadline)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.cancels.add(job.ID, cancel)
	run := func() (results.Entry, *rerank.Result, error) {
		defer stop()
		defer cancel(nil)
		result, err := l.One(engine.NewRun(ctx), src)
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		var e results.Entry
		if err == nil {
			e, err = entry(result)
		}
		if err == nil && result.Selected >= 0 {
			job.Chosen = result.Candidates[result.Selected].Text
		}
		s.cancels.cancel(job.ID, nil)
		if failed := s.o.Jobs.End(job, e, err, errors.Is(err, errCancelled) || errors.Is(err, context.Canceled)); failed != nil {
			s.o.Log.Print(failed)
		}
		return e, result, err
	}
	switch {
	case q.Background:
		s.background.Go(func() { _, _, _ = run() })
		w.Header().Set("Location", "/v1/jobs/"+job.ID)
		s.write(w, http.StatusAccepted, job)
	case q.Stream:
		events.put("job", map[string]any{"id": job.ID})
		s.follow(w, &l, events, cancel, run)
	default:
		e, _, err := run()
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, http.StatusOK, e)
	}
}

// follow sends what a loop does as events.
func (s *Server) follow(w http.ResponseWriter, l *rerank.Loop, events *queue, cancel context.CancelCauseFunc,
	run func() (results.Entry, *rerank.Result, error)) {
	l.Report = func(i int, c rerank.Candidate) {
		e := map[string]any{"index": i, "text": c.Text, "score": c.Score, "seed": c.Seed}
		if c.Duplicate >= 0 {
			e["duplicate"] = c.Duplicate
		}
		if c.Err != nil {
			e["error"] = c.Err.Error()
		} else if c.Picture != nil {
			e["image"], _ = dataURL(c.Picture)
		}
		events.put("candidate", e)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, result, err := run()
		if err != nil {
			a := answer(err)
			events.put("error", map[string]any{"message": a.text, "code": a.kind})
			return
		}
		ranks := make([]int, len(result.Candidates))
		for i, c := range result.Candidates {
			ranks[i] = c.Rank
		}
		events.put("result", map[string]any{"selected": result.Selected, "ranks": ranks})
	}()
	out := newStream(w)
	for {
		events.drain(out)
		if out.gone != nil {
			cancel(context.Canceled)
		}
		select {
		case <-events.ready:
			continue
		case <-ended:
		}
		events.drain(out)
		return
	}
}

// loop checks a request and makes its loop.
func (s *Server) loop(r *http.Request, q reconstruction, events *queue) (l rerank.Loop, src rerank.Source, err error) {
	if (q.Image == "") == (q.Text == "") {
		return l, src, wrong("image", "want an image or a text")
	}
	k := 4
	if q.K != nil {
		k = *q.K
	}
	if k < 1 || k > s.o.N {
		return l, src, wrong("k", "%d: want 1 to %d", k, s.o.N)
	}
	if q.Previews < 0 || q.Previews > 20 || q.Previews > 0 && !q.Stream {
		return l, src, wrong("previews", "%d: want 0 to 20, with stream", q.Previews)
	}
	a := asked{prompt: q.Text, negative: q.Negative, seed: q.Seed, steps: q.Steps, guidance: q.Guidance, scheduler: q.Scheduler}
	if q.Size != "" {
		if a.w, a.h, err = sizeOf("size", q.Size); err != nil {
			return l, src, err
		}
	}
	d, err := s.drawing(a)
	if err != nil {
		return l, src, err
	}
	d.Previews = q.Previews
	src = rerank.Source{Name: q.Text, Seed: d.Seed}
	if q.Image != "" {
		if src.Picture, err = s.picture("image", q.Image); err != nil {
			return l, src, err
		}
		src.Name = "image"
	}
	told := work.Told{}
	if q.Stream {
		told.Captions = func(list []rerank.Caption) {
			texts := make([]string, len(list))
			for i, c := range list {
				texts[i] = c.Text
			}
			events.put("captions", map[string]any{"texts": texts})
		}
		told.Step = func(seed uint64, step, steps int, m *pixels.Image) {
			e := map[string]any{"index": seed - src.Seed, "step": step, "steps": steps}
			if m != nil {
				e["image"], _ = dataURL(m)
			}
			events.put("step", e)
		}
		if q.Image == "" {
			told.Captions = nil // those of the drawings come with their candidates
		}
	}
	l = s.work.Loop(client(r), models.Nucleus(), d, told)
	l.K = k
	return l, src, nil
}

// entry is a result as JSON, with its pictures.
func entry(r *rerank.Result) (results.Entry, error) {
	var failed error
	e := results.NewEntry(r, nil, func(i int) string {
		url, err := dataURL(r.Candidates[i].Picture)
		failed = errors.Join(failed, err)
		return url
	})
	return e, failed
}

// dataURL is a picture as a PNG in an address.
func dataURL(m *pixels.Image) (string, error) {
	data, err := png(m)
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(data), err
}
