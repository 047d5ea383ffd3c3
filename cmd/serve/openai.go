package serve

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime/multipart"
	"net/http"
	"slices"
	"time"

	"parley/cmd/serve/work"
	"parley/nets/pixels"
)

// openAI registers OpenAI's routes.
func (s *Server) openAI() {
	s.handle("GET /v1/models", func(*http.Request) (any, error) {
		type model struct {
			ID      string `json:"id"`
			Object  string `json:"object"`
			Created int64  `json:"created"`
			Owner   string `json:"owned_by"`
		}
		var list []model
		for _, id := range []string{s.o.Names.SD, s.o.Names.BLIP, s.o.Names.CLIP} {
			list = append(list, model{id, "model", 0, "parley"})
		}
		return map[string]any{"object": "list", "data": list}, nil
	})
	s.route("POST /v1/images/generations", s.generations)
	s.route("POST /v1/images/edits", s.edits)
	s.route("POST /v1/images/variations", s.variations)
	s.offer("POST /v1/embeddings", "embed", s.embeddings)
	s.route("GET /v1/files/{name}", func(w http.ResponseWriter, r *http.Request) {
		f, ok := s.shelf.get(r.PathValue("name"))
		if !ok {
			s.fail(w, r, &apiError{http.StatusNotFound, "not_found", "", "there is no such picture, or no longer"})
			return
		}
		w.Header().Set("Content-Type", f.mime)
		w.Write(f.data)
	})
}

// generation is a request for pictures. What is not OpenAI's comes last; quality, style,
// moderation and user change nothing here.
type generation struct {
	Prompt       string `json:"prompt"`
	Model        string `json:"model"`
	N            *int   `json:"n"`
	Size         string `json:"size"`
	Quality      string `json:"quality"`
	Style        string `json:"style"`
	Background   string `json:"background"`
	Moderation   string `json:"moderation"`
	OutputFormat string `json:"output_format"`
	Compression  *int   `json:"output_compression"`
	Response     string `json:"response_format"`
	Stream       bool   `json:"stream"`
	Partial      int    `json:"partial_images"`
	User         string `json:"user"`

	Seed           *int64   `json:"seed"`
	Steps          *int     `json:"steps"`
	Guidance       *float64 `json:"guidance"`
	Scheduler      string   `json:"scheduler"`
	NegativePrompt string   `json:"negative_prompt"`
	Strength       *float64 `json:"strength"` // with a picture
}

func (s *Server) generations(w http.ResponseWriter, r *http.Request) {
	var g generation
	err := decode(r, &g)
	if err == nil && g.Prompt == "" {
		err = wrong("prompt", "is needed")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.generate(w, r, g, source{})
}

// generate draws, and answers at once or in a stream.
func (s *Server) generate(w http.ResponseWriter, r *http.Request, g generation, from source) {
	list, f, err := s.generationOf(r.Context(), g, from)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if g.Stream && async(r) {
		s.fail(w, r, wrong("stream", "answers as it goes, respond-async at once: choose one"))
		return
	}
	if g.Stream {
		s.generateStream(w, r, g, list, f)
		return
	}
	s.do(w, r, "draw", task{g.Prompt, func(r *http.Request) (any, string, error) {
		v, err := s.pictures(r, g, list, f)
		return v, "", err
	}})
}

// pictures draws, and makes OpenAI's answer of it.
func (s *Server) pictures(r *http.Request, g generation, list []work.Drawing, f format) (any, error) {
	type item struct {
		B64  string `json:"b64_json,omitempty"`
		URL  string `json:"url,omitempty"`
		Seed uint64 `json:"seed"`
	}
	items := make([]item, len(list))
	var failed error
	err := s.work.Draw(r.Context(), client(r), list, func(i int, m *pixels.Image, err error) {
		var data []byte
		if err == nil {
			data, err = f.encode(m, s.how(list[i]))
		}
		if err != nil {
			failed = errors.Join(failed, err)
			return
		}
		items[i].Seed = list[i].Seed
		if g.Response == "url" {
			var name string
			if name, err = s.shelf.put(data, f.mime()); err != nil {
				failed = errors.Join(failed, err)
			}
			items[i].URL = address(r) + "/v1/files/" + name
			return
		}
		items[i].B64 = base64.StdEncoding.EncodeToString(data)
	})
	o := list[0].Options
	return map[string]any{"created": time.Now().Unix(), "data": items, "output_format": f.name,
		"size": fmt.Sprintf("%dx%d", o.Width, o.Height)}, errors.Join(err, failed)
}

// address is what the client calls this server.
func address(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// generationOf checks a request.
func (s *Server) generationOf(ctx context.Context, g generation, from source) ([]work.Drawing, format, error) {
	f, err := newFormat(g.OutputFormat, g.Compression)
	if err != nil {
		return nil, f, err
	}
	switch {
	case g.Background != "" && g.Background != "auto" && g.Background != "opaque":
		err = wrong("background", "%q: pictures are opaque", g.Background)
	case g.Response != "" && g.Response != "url" && g.Response != "b64_json":
		err = wrong("response_format", "%q: want url or b64_json", g.Response)
	case g.Stream && g.Response == "url":
		err = wrong("response_format", "a stream has b64_json alone")
	case g.Partial < 0 || g.Partial > 3:
		err = wrong("partial_images", "%d: want 0 to 3", g.Partial)
	case g.Partial > 0 && !g.Stream:
		err = wrong("partial_images", "is for stream")
	default:
		err = known(g.Model, s.o.Names.SD)
	}
	if err != nil {
		return nil, f, err
	}
	a := asked{prompt: g.Prompt, negative: g.NegativePrompt, seed: g.Seed, steps: g.Steps, guidance: g.Guidance, scheduler: g.Scheduler,
		from: from, strength: g.Strength}
	if g.Size != "" && g.Size != "auto" {
		if a.w, a.h, err = sizeOf("size", g.Size); err != nil {
			return nil, f, err
		}
	}
	d, err := s.drawing(a)
	if err != nil {
		return nil, f, err
	}
	d.Previews = g.Partial
	list, err := s.series(ctx, "n", d, g.N)
	return list, f, err
}

// generateStream sends partial pictures and the finished ones as events.
func (s *Server) generateStream(w http.ResponseWriter, r *http.Request, g generation, list []work.Drawing, f format) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	type event struct {
		name string
		data map[string]any
		err  error
	}
	events := make(chan event, 4*len(list)+1) // room for all, so that nobody waits for the client
	o := list[0].Options
	size := fmt.Sprintf("%dx%d", o.Width, o.Height)
	picture := func(i int, m *pixels.Image, name string, more map[string]any) {
		data, err := f.encode(m, s.how(list[i]))
		e := event{name: name, err: err, data: map[string]any{"type": name, "b64_json": base64.StdEncoding.EncodeToString(data),
			"created_at": time.Now().Unix(), "size": size, "output_format": f.name, "background": "opaque", "quality": "auto",
			"image_index": i, "seed": list[i].Seed}}
		for k, v := range more {
			e.data[k] = v
		}
		events <- e
	}
	for i := range list {
		shown := 0
		list[i].Step = func(_, _ int, m *pixels.Image) {
			if m != nil && ctx.Err() == nil && shown < 3 {
				picture(i, m, "image_generation.partial_image", map[string]any{"partial_image_index": shown})
				shown++
			}
		}
	}
	go func() {
		defer close(events)
		err := s.work.Draw(ctx, client(r), list, func(i int, m *pixels.Image, err error) {
			if err != nil {
				events <- event{err: err}
				return
			}
			picture(i, m, "image_generation.completed", map[string]any{"usage": map[string]int{"input_tokens": 0, "output_tokens": 0,
				"total_tokens": 0}})
		})
		if err != nil {
			events <- event{err: err}
		}
	}()
	// What fails before the first event is an answer of its own.
	first, ok := <-events
	if ok && first.err != nil {
		cancel(first.err)
		s.fail(w, r, first.err)
	} else if ok {
		out := newStream(w)
		for e := first; ok; e, ok = <-events {
			if e.err != nil {
				a := answer(e.err)
				out.send("error", map[string]any{"type": "error", "error": map[string]any{"message": a.text, "code": a.kind}})
			} else {
				out.send(e.name, e.data)
			}
			if out.gone != nil {
				cancel(context.Canceled)
			}
		}
	}
	cancel(nil)
	for range events { // until the drawings have ended
	}
}

// form reads a request of parts.
func (s *Server) form(r *http.Request) (*multipart.Form, error) {
	if err := r.ParseMultipartForm(s.o.Body); err != nil { // nothing is written to a file: the body is no larger
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, wrong("", "the body is no form of parts: %v", err)
	}
	return r.MultipartForm, nil
}

// formGeneration reads OpenAI's form of a generation, with its pictures; mask is among the
// fields where there may be one.
func (s *Server) formGeneration(r *http.Request, fields ...string) (g generation, from source, err error) {
	form, err := s.form(r)
	if err != nil {
		return g, from, err
	}
	values := map[string]any{}
	for name, v := range form.Value {
		if name == "mask" || !slices.Contains(fields, name) { // a mask is a file
			return g, from, wrong(name, "there is no such parameter")
		}
		if len(v) != 1 {
			return g, from, wrong(name, "%d values: want one", len(v))
		}
		values[name] = v[0]
		if slices.Contains([]string{"n", "output_compression", "partial_images", "seed", "steps", "guidance", "strength", "stream"}, name) {
			if !json.Valid([]byte(v[0])) {
				return g, from, wrong(name, "%q: want a number, or true or false", v[0])
			}
			values[name] = json.RawMessage(v[0])
		}
	}
	data, err := json.Marshal(values)
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	if err != nil {
		return g, from, unread(err)
	}
	var files, masks []*multipart.FileHeader
	for name, f := range form.File {
		switch {
		case name == "image" || name == "image[]":
			files = append(files, f...)
		case name == "mask" && slices.Contains(fields, name):
			masks = f
		default:
			return g, from, wrong(name, "there is no such parameter")
		}
	}
	if from.picture, err = s.part("image", files, pixels.Options{}); err != nil {
		return g, from, err
	}
	if masks == nil {
		if slices.Contains(fields, "mask") { // what is transparent of the picture itself is its mask
			if from.mask, err = s.part("image", files, pixels.Options{Alpha: true}); err == nil && opaque(from.mask) {
				from.mask = nil
			}
			invert(from.mask)
		}
		return g, from, err
	}
	if from.mask, err = s.part("mask", masks, pixels.Options{Alpha: true}); err != nil {
		return g, from, err
	}
	if m, p := from.mask, from.picture; m.W != p.W || m.H != p.H {
		return g, from, wrong("mask", "%dx%d pixels: want those of the picture, %dx%d", m.W, m.H, p.W, p.H)
	}
	if opaque(from.mask) {
		return g, from, wrong("mask", "it is opaque: what is transparent is drawn anew")
	}
	invert(from.mask)
	return g, from, nil
}

// part reads the one picture of a form's parts.
func (s *Server) part(name string, files []*multipart.FileHeader, o pixels.Options) (*pixels.Image, error) {
	if len(files) != 1 {
		return nil, wrong(name, "%d pictures: want one", len(files))
	}
	f, err := files[0].Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.decodePicture(name, f, o)
}

var formFields = []string{"model", "n", "size", "response_format", "user", "output_format", "output_compression", "seed", "steps",
	"guidance",
	"scheduler", "negative_prompt", "strength"}

// edits draws a text from a picture on.
func (s *Server) edits(w http.ResponseWriter, r *http.Request) {
	g, from, err := s.formGeneration(r, append([]string{"prompt", "quality", "background", "stream", "partial_images", "input_fidelity",
		"mask"}, formFields...)...)
	if err == nil && g.Prompt == "" {
		err = wrong("prompt", "is needed")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.generate(w, r, g, from)
}

// variations draws what BLIP says of a picture, from the picture on.
func (s *Server) variations(w http.ResponseWriter, r *http.Request) {
	g, from, err := s.formGeneration(r, formFields...)
	if err == nil {
		var c string
		if c, err = s.describeOnce(r, from.picture); err == nil {
			g.Prompt = c
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.generate(w, r, g, from)
}

type embeddingsRequest struct {
	Input      json.RawMessage `json:"input"`
	Model      string          `json:"model"`
	Encoding   string          `json:"encoding_format"`
	Dimensions *int            `json:"dimensions"`
	User       string          `json:"user"`
}

// embeddings embeds texts and pictures. Input is a string, a list of them, or a list of
// {"text": …} and {"image": base64}.
func (s *Server) embeddings(r *http.Request) (t task, err error) {
	var q embeddingsRequest
	if err := decode(r, &q); err != nil {
		return t, err
	}
	if err := known(q.Model, s.o.Names.CLIP); err != nil {
		return t, err
	}
	if q.Encoding != "" && q.Encoding != "float" && q.Encoding != "base64" {
		return t, wrong("encoding_format", "%q: want float or base64", q.Encoding)
	}
	inputs, err := s.inputs(q.Input)
	if err != nil {
		return t, err
	}
	t.title = fmt.Sprintf("%d inputs", len(inputs))
	t.run = func(r *http.Request) (any, string, error) {
		rows, err := s.embed(r, inputs)
		if err != nil {
			return nil, "", err
		}
		if q.Dimensions != nil && *q.Dimensions != len(rows[0]) {
			return nil, "", wrong("dimensions", "embeddings have %d numbers here", len(rows[0]))
		}
		type item struct {
			Object    string `json:"object"`
			Index     int    `json:"index"`
			Embedding any    `json:"embedding"`
		}
		data := make([]item, len(rows))
		for i, row := range rows {
			data[i] = item{"embedding", i, row}
			if q.Encoding == "base64" {
				b := make([]byte, 0, 4*len(row))
				for _, v := range row {
					b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
				}
				data[i].Embedding = base64.StdEncoding.EncodeToString(b)
			}
		}
		return map[string]any{"object": "list", "data": data, "model": s.o.Names.CLIP,
			"usage": map[string]int{"prompt_tokens": 0, "total_tokens": 0}}, "", nil
	}
	return t, nil
}
