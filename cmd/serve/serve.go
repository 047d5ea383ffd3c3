// Package serve answers the clients that people already have: OpenAI's API for pictures
// and embeddings, AUTOMATIC1111's web API, the CLIP service of Immich, and Parley's own
// for captions, scores and reconstructions, with a page that shows them. All of it is one
// http.Handler over a work.Scheduler; no request reaches the file system.
package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parley/cmd/serve/jobs"
	"parley/cmd/serve/work"
	"parley/engine"
	"parley/weights"
)

// Options say what a server allows.
type Options struct {
	Key      string        // what clients have to show; "" asks for none
	Origins  []string      // of other pages that may call (CORS); "*" is any
	Body     int64         // bytes of a request
	Pixels   int           // of a picture that comes, and of one that is drawn
	Text     int           // bytes of a prompt
	N        int           // drawings, captions and candidates of a request
	Steps    int           // of a drawing
	Deadline time.Duration // of a request
	Version  string
	Names    Names
	Log      *log.Logger // is told of faults
	Jobs     *jobs.Store
}

// Names are what the models are called to clients.
type Names struct{ SD, BLIP, CLIP string }

// Server answers requests.
type Server struct {
	o          Options
	work       *work.Scheduler
	meters     *meters
	routes     []string // patterns that are registered, but for the page's
	mux        *http.ServeMux
	ready      atomic.Bool
	shelf      shelf
	current    current
	cancels    cancels
	background sync.WaitGroup // of jobs that outlive their requests
	pages      http.CrossOriginProtection
}

// New makes a server over a scheduler's models; watch makes the scheduler, which the
// server tells its meters of.
func New(o Options, start func(work.Watcher) *work.Scheduler) *Server {
	s := &Server{o: o, mux: http.NewServeMux(), shelf: shelf{most: 256 << 20, keep: time.Hour}}
	s.meters = newMeters(func() int { return engine.FreeMemory(s.work.Device) })
	s.work = start(s.meters)
	s.trust()
	s.route("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	s.route("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	s.route("GET /metrics", s.meters.handler().ServeHTTP)
	s.openAI()
	s.webUI()
	s.immich()
	s.own()
	s.openAPI()
	s.page()
	s.ready.Store(true)
	return s
}

// Close refuses new requests and waits for the work that there is, or for the context.
func (s *Server) Close(ctx context.Context) error {
	s.ready.Store(false)
	err := s.work.Close(ctx)
	if err != nil { // jobs of the background end with the server
		s.cancels.all(work.ErrClosed)
	}
	s.background.Wait()
	return err
}

// open are the paths that need no key.
func open(path string) bool { return path == "/healthz" || path == "/readyz" || path == "/ping" }

// ServeHTTP checks who asks and how much, and answers.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	seen := &seen{ResponseWriter: w}
	ctx, cancel := context.WithTimeoutCause(r.Context(), s.o.Deadline, errDeadline)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(seen, r.Body, s.o.Body)
	defer func() {
		if f := recover(); f != nil {
			if f == http.ErrAbortHandler {
				panic(f)
			}
			s.o.Log.Printf("a fault of the program, please report it: %v\n%s", f, debug.Stack())
			if seen.code == 0 {
				s.fail(seen, r, errors.New("a fault of the program"))
			}
		}
		route := r.Pattern
		if route == "" {
			route = "none"
		}
		s.meters.request(route, seen.code, time.Since(start))
	}()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if s.origin(h, r); r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		seen.WriteHeader(http.StatusNoContent)
		return
	}
	if err := s.elsewhere(r); err != nil && !open(r.URL.Path) {
		s.fail(seen, r, err)
		return
	}
	if s.o.Key != "" && !open(r.URL.Path) && !s.allowed(r) {
		h.Set("WWW-Authenticate", `Basic realm="parley"`)
		s.fail(seen, r, &apiError{http.StatusUnauthorized, "invalid_api_key", "",
			"an API key is wanted: Authorization: Bearer KEY, or HTTP Basic with it as the password"})
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.nowhere(seen, r)
		return
	}
	s.mux.ServeHTTP(seen, r)
}

// nowhere answers where there is no route.
func (s *Server) nowhere(w http.ResponseWriter, r *http.Request) {
	found := nobody{http.Header{}}
	s.mux.ServeHTTP(found, r) // knows the methods that there are
	if allowed := found.Header().Get("Allow"); allowed != "" {
		w.Header().Set("Allow", allowed)
		s.fail(w, r, &apiError{http.StatusMethodNotAllowed, "method_not_allowed", "",
			fmt.Sprintf("%s %s: want %s", r.Method, r.URL.Path, allowed)})
		return
	}
	s.fail(w, r, &apiError{http.StatusNotFound, "not_found", "",
		fmt.Sprintf("there is nothing at %s: /openapi.json lists what is", r.URL.Path)})
}

// nobody reads an answer but for its header.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header       { return n.header }
func (nobody) Write(p []byte) (int, error) { return len(p), nil }
func (nobody) WriteHeader(int)             {}

// origin sets what other pages may do.
func (s *Server) origin(h http.Header, r *http.Request) {
	from := r.Header.Get("Origin")
	if from == "" || len(s.o.Origins) == 0 {
		return
	}
	h.Add("Vary", "Origin")
	for _, o := range s.o.Origins {
		if o == "*" || o == from {
			h.Set("Access-Control-Allow-Origin", from)
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Prefer")
			h.Set("Access-Control-Expose-Headers", "Location, Preference-Applied, Retry-After")
			h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		}
	}
}

// trust tells which pages may ask.
func (s *Server) trust() {
	for _, from := range s.o.Origins {
		if err := s.pages.AddTrustedOrigin(from); err != nil && from != "*" {
			s.o.Log.Print(err)
		}
	}
}

// elsewhere refuses what another page makes a browser ask, which needs no CORS where nobody
// reads the answer; and without a key also what comes by a name that is not this machine's,
// which another page can have pointed here (DNS rebinding).
func (s *Server) elsewhere(r *http.Request) error {
	if slices.Contains(s.o.Origins, "*") {
		return nil
	}
	if s.pages.Check(r) != nil {
		return &apiError{http.StatusForbidden, "cross_origin", "", "another page asks: --cors " + r.Header.Get("Origin") + " would allow it"}
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	named := func(origin string) bool { return strings.HasSuffix(origin, "://"+r.Host) }
	if s.o.Key != "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host) != nil ||
		slices.ContainsFunc(s.o.Origins, named) {
		return nil
	}
	return &apiError{http.StatusForbidden, "unknown_host", "", fmt.Sprintf("this is not %s: --cors https://%s, or an API key, would allow it",
		r.Host, r.Host)}
}

// allowed compares keys in constant time.
func (s *Server) allowed(r *http.Request) bool {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, key, _ = r.BasicAuth()
	}
	have, want := sha256.Sum256([]byte(key)), sha256.Sum256([]byte(s.o.Key))
	return subtle.ConstantTimeCompare(have[:], want[:]) == 1
}

// client is whom a request is counted to: the host that it comes from.
func client(r *http.Request) work.Client {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return work.Client(host)
}

// seen remembers what was answered.
type seen struct {
	http.ResponseWriter
	code int
}

func (s *seen) WriteHeader(code int) {
	if s.code == 0 {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *seen) Write(p []byte) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	return s.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// errDeadline is why a request took too long.
var errDeadline = errors.New("the request took longer than the server allows")

// apiError is an answer that is no success.
type apiError struct {
	code  int    // of HTTP
	kind  string // OpenAI's code
	param string // the parameter that is wrong, if one is
	text  string
}

func (e *apiError) Error() string { return e.text }

// wrong is a request that has to be changed.
func wrong(param, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if param != "" {
		text = param + ": " + text
	}
	return &apiError{http.StatusBadRequest, "invalid_request", param, text}
}

// answer is what an error is to a client.
func answer(err error) *apiError {
	var api *apiError
	var busy *work.BusyError
	var memory *engine.MemoryError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &busy):
		return &apiError{http.StatusTooManyRequests, "busy", "", err.Error()}
	case errors.As(err, &memory):
		return &apiError{http.StatusRequestEntityTooLarge, "too_large", "", err.Error()}
	case errors.As(err, &large):
		return &apiError{http.StatusRequestEntityTooLarge, "too_large", "", fmt.Sprintf("a request may have %d bytes", large.Limit)}
	case errors.Is(err, work.ErrClosed):
		return &apiError{http.StatusServiceUnavailable, "stopping", "", err.Error()}
	case errors.Is(err, errDeadline), errors.Is(err, context.DeadlineExceeded):
		return &apiError{http.StatusGatewayTimeout, "deadline", "", err.Error()}
	case errors.Is(err, errInterrupted), errors.Is(err, errCancelled):
		return &apiError{http.StatusConflict, "interrupted", "", err.Error()}
	case errors.Is(err, context.Canceled):
		return &apiError{499, "closed", "", "the client has left"} // as nginx calls it; nobody reads it
	}
	return &apiError{http.StatusInternalServerError, "failed", "", err.Error()}
}

// fail answers with an error, in the form that OpenAI's clients and AUTOMATIC1111's read.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	a := answer(err)
	var busy *work.BusyError
	if errors.As(err, &busy) {
		w.Header().Set("Retry-After", strconv.Itoa(int(busy.After.Seconds()+0.999)))
	}
	if a.code == http.StatusInternalServerError {
		s.o.Log.Printf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	kind := "invalid_request_error"
	if a.code >= 500 {
		kind = "server_error"
	}
	body := map[string]any{"error": map[string]any{"message": a.text, "type": kind, "param": orNull(a.param), "code": a.kind}}
	if strings.HasPrefix(r.URL.Path, "/sdapi/") {
		body = map[string]any{"error": a.kind, "detail": a.text, "errors": a.text, "body": ""}
	}
	s.write(w, a.code, body)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// write answers with JSON.
func (s *Server) write(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that has left
}

// route registers a route.
func (s *Server) route(pattern string, f http.HandlerFunc) {
	s.routes = append(s.routes, pattern)
	s.mux.HandleFunc(pattern, f)
}

// handle registers a route whose function gives a value for JSON, or an error.
func (s *Server) handle(pattern string, f func(r *http.Request) (any, error)) {
	s.route(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, http.StatusOK, v)
	})
}

// decode reads a body of JSON; a key that is unknown or comes twice is an error that
// names it.
func decode(r *http.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	if name := twice(body); name != "" {
		return wrong(name, "comes twice")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err == nil {
		err = d.Decode(v)
	}
	if err == nil && d.More() {
		err = errors.New("more follows behind the JSON")
	}
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if name, ok := strings.CutPrefix(text, "unknown field "); ok {
		name = strings.Trim(name, `"`)
		return wrong(name, "there is no such parameter")
	}
	return unread(err)
}

// twice is a key that comes twice in its object, in small letters or large ones, between
// which encoding/json makes no difference; "": none does.
func twice(data []byte) string {
	fold := func(name string) string { return strings.ToLower(strings.ToUpper(name)) } // of ſ and the sign of Kelvin, too
	return weights.Twice(data, fold).LastToken()
}

// unread says what of a body is no such JSON.
func unread(err error) error {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return wrong("", "the body is no such JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if kind.Field == "" {
		return wrong("", "the body is no such JSON: %s, want an object", kind.Value)
	}
	want := "another kind"
	switch kind.Type.Kind() {
	case reflect.String:
		want = "a text"
	case reflect.Bool:
		want = "true or false"
	case reflect.Int, reflect.Int64:
		want = "a whole number"
	case reflect.Uint64:
		want = "a whole number, 0 or more"
	case reflect.Float64:
		want = "a number"
	case reflect.Slice:
		want = "a list"
	case reflect.Struct, reflect.Map:
		want = "an object"
	}
	return wrong(kind.Field, "%s: want %s", kind.Value, want)
}
