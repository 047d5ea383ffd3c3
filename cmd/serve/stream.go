package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stream sends server-sent events (WHATWG HTML, section 9.2). It is used by one goroutine.
type stream struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	gone error
}

func newStream(w http.ResponseWriter) *stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	s := &stream{w: w, ctl: http.NewResponseController(w)}
	_ = s.ctl.Flush()
	return s
}

// patience is how long a client may take to read an event.
const patience = 30 * time.Second

// send writes an event; name may be "".
func (s *stream) send(name string, v any) {
	if s.gone != nil {
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		s.gone = err
		return
	}
	_ = s.ctl.SetWriteDeadline(time.Now().Add(patience))
	if name != "" {
		_, s.gone = fmt.Fprintf(s.w, "event: %s\n", name)
	}
	if s.gone == nil {
		_, s.gone = fmt.Fprintf(s.w, "data: %s\n\n", data)
	}
	if s.gone == nil {
		s.gone = s.ctl.Flush()
	}
}

// queue keeps events for a client that reads slowly, so that nobody waits for it: of what
// it has not seen yet, a later step of the same drawing replaces an earlier one.
type queue struct {
	mu     sync.Mutex
	events []event
	ready  chan struct{}
}

type event struct {
	name string
	data map[string]any
}

func (q *queue) put(name string, data map[string]any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if name == "step" {
		for i, e := range q.events {
			if e.name == name && e.data["index"] == data["index"] {
				if _, ok := data["image"]; !ok && e.data["image"] != nil {
					data["image"] = e.data["image"]
				}
				q.events = append(q.events[:i:i], q.events[i+1:]...)
				break
			}
		}
	}
	q.events = append(q.events, event{name, data})
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// drain sends what is there.
func (q *queue) drain(out *stream) {
	q.mu.Lock()
	events := q.events
	q.events = nil
	q.mu.Unlock()
	for _, e := range events {
		out.send(e.name, e.data)
	}
}
