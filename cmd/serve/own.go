package serve

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

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
	s.offer("POST /v1/caption", "caption", s.caption)
	s.offer("POST /v1/score", "score", s.score)
	s.route("POST /v1/reconstruct", s.reconstruct)
	s.ofJobs()
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
func (s *Server) caption(r *http.Request) (t task, err error) {
	var q captionRequest
	if err := decode(r, &q); err != nil {
		return t, err
	}
	k := 1
	if q.K != nil {
		k = *q.K
	}
	if k < 1 || k > s.o.N {
		return t, wrong("k", "%d: want 1 to %d", k, s.o.N)
	}
	o := models.Nucleus()
	switch {
	case q.Beam != nil && q.TopP != nil:
		return t, wrong("beam", "is beam search, top_p is sampling: choose one")
	case q.Beam != nil:
		if *q.Beam < 1 || *q.Beam > 64 {
			return t, wrong("beam", "%d: want 1 to 64", *q.Beam)
		}
		o = models.Beam()
		o.Beams = *q.Beam
	case q.TopP != nil:
		if !(*q.TopP > 0 && *q.TopP <= 1) {
			return t, wrong("top_p", "%v: want more than 0, at most 1", *q.TopP)
		}
		o.TopP = *q.TopP
	case k == 1:
		o = models.Beam()
	}
	if q.Prompt != nil {
		if len(*q.Prompt) > s.o.Text {
			return t, wrong("prompt", "a prompt may have %d bytes", s.o.Text)
		}
		o.Prompt = *q.Prompt
	}
	m, err := s.picture("image", q.Image)
	if err != nil {
		return t, err
	}
	type caption struct {
		Text  string  `json:"text"`
		Score float64 `json:"score"`
		Error string  `json:"error,omitempty"`
	}
	t.title = "image"
	t.run = func(r *http.Request) (any, string, error) {
		list, err := s.work.Caption(r.Context(), client(r), m, k, q.Seed, o)
		if err != nil {
			return nil, "", err
		}
		out, chosen := []caption{}, ""
		for _, c := range list {
			e := caption{Text: c.Text, Score: c.Score}
			if c.Err != nil {
				e.Score, e.Error = 0, c.Err.Error()
			} else if chosen == "" {
				chosen = c.Text
			}
			out = append(out, e)
		}
		return map[string]any{"captions": out}, chosen, nil
	}
	return t, nil
}

type scoreRequest struct {
	Images []string `json:"images"`
	Texts  []string `json:"texts"`
}

// score is the cosine of each picture with each text: a row for each picture.
func (s *Server) score(r *http.Request) (t task, err error) {
	var q scoreRequest
	if err := decode(r, &q); err != nil {
		return t, err
	}
	if len(q.Images) == 0 || len(q.Texts) == 0 || len(q.Images)+len(q.Texts) > mostInputs {
		return t, wrong("images", "want images and texts, %d at most of both", mostInputs)
	}
	var inputs []input
	for i, text := range q.Images {
		m, err := s.picture(fmt.Sprintf("images[%d]", i), text)
		if err != nil {
			return t, err
		}
		inputs = append(inputs, input{image: m})
	}
	for i, text := range q.Texts {
		if text == "" || len(text) > s.o.Text {
			return t, wrong(fmt.Sprintf("texts[%d]", i), "a text has 1 to %d bytes", s.o.Text)
		}
		inputs = append(inputs, input{text: text})
	}
	t.title = fmt.Sprintf("%d pictures, %d texts", len(q.Images), len(q.Texts))
	t.run = func(r *http.Request) (any, string, error) {
		rows, err := s.embed(r, inputs)
		if err != nil {
			return nil, "", err
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
		return map[string]any{"scores": scores}, "", nil
	}
	return t, nil
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
	q.Background = q.Background || async(r)
	if err == nil && q.Background && q.Stream {
		err = wrong("background", "answers at once, stream as it goes: choose one")
	}
	if err == nil {
		l, src, err = s.loop(r, q, events)
	}
	var job jobs.Job
	if err == nil {
		job, err = s.begin("reconstruct", src.Name)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, end := s.context(r, job, q.Background)
	run := func() (results.Entry, *rerank.Result, error) {
		result, err := l.One(engine.NewRun(ctx), src)
		var e results.Entry
		if err == nil && ctx.Err() == nil {
			e, err = entry(result)
		}
		chosen := ""
		if err == nil && result.Selected >= 0 {
			chosen = result.Candidates[result.Selected].Text
		}
		return e, result, end(e, chosen, err)
	}
	switch {
	case q.Background:
		s.behind(w, r, job, func() { _, _, _ = run() })
	case q.Stream:
		events.put("job", map[string]any{"id": job.ID})
		s.follow(w, &l, events, func() { s.cancels.cancel(job.ID, context.Canceled) }, run)
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
func (s *Server) follow(w http.ResponseWriter, l *rerank.Loop, events *queue, cancel func(),
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
			cancel()
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
	if err == nil {
		_, err = s.check(r.Context(), d) // its texts are read one by one
	}
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
