package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/cmd/serve/work"
)

// settle waits until goroutines are as few as they were, and says how many there are.
func settle(before int) int {
	n := runtime.NumGoroutine()
	for deadline := time.Now().Add(20 * time.Second); n > before && time.Now().Before(deadline); n = runtime.NumGoroutine() {
		time.Sleep(20 * time.Millisecond)
	}
	return n
}

// TestLoad: of a thousand clients at once a tenth is slow, leaves or sends what is no
// request; every other one is answered rightly, and nothing is left of any.
func TestLoad(t *testing.T) {
	w := newWorld(t, func(_ *Options, l *work.Limits) { l.Waiting = 2000 })
	w.Config.ReadHeaderTimeout = time.Second
	var want struct {
		Data []struct{ Embedding []float32 }
	}
	w.get(t, "/v1/embeddings", object{"input": "client 7"}, &want)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0, DisableKeepAlives: true}}
	before := runtime.NumGoroutine()
	var mu sync.Mutex
	var times []time.Duration
	var wrong []string
	var wait sync.WaitGroup
	for i := range 1000 {
		wait.Go(func() {
			switch {
			case i%40 == 0: // a header that never ends
				c, err := net.Dial("tcp", strings.TrimPrefix(w.URL, "http://"))
				if err != nil {
					return
				}
				defer c.Close()
				fmt.Fprintf(c, "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n")
				_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
				if _, err := io.ReadAll(c); err != nil {
					mu.Lock()
					wrong = append(wrong, fmt.Sprintf("a slow client was not hung up on: %v", err))
					mu.Unlock()
				}
				return
			case i%40 == 10: // leaves at once
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, w.URL+"/v1/images/generations",
					strings.NewReader(`{"prompt": "a", "steps": 50}`))
				if resp, err := client.Do(req); err == nil {
					resp.Body.Close()
				}
				return
			case i%40 == 20 || i%40 == 30: // no request
				resp, err := client.Post(w.URL+"/v1/embeddings", "application/json", bytes.NewReader(make([]byte, 1000)))
				if err != nil || resp.StatusCode != 400 {
					mu.Lock()
					wrong = append(wrong, fmt.Sprintf("nonsense: %v", err))
					mu.Unlock()
				}
				if err == nil {
					resp.Body.Close()
				}
				return
			}
			start := time.Now()
			resp, err := client.Post(w.URL+"/v1/embeddings", "application/json", strings.NewReader(fmt.Sprintf(`{"input": "client %d"}`, i%10)))
			var have struct {
				Data []struct{ Embedding []float32 }
			}
			if err == nil {
				err = json.NewDecoder(resp.Body).Decode(&have)
				resp.Body.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(start))
			if err != nil || len(have.Data) != 1 || i%10 == 7 && !slices.Equal(have.Data[0].Embedding, want.Data[0].Embedding) {
				wrong = append(wrong, fmt.Sprintf("client %d: %v, %d rows", i, err, len(have.Data)))
			}
		})
	}
	wait.Wait()
	if len(wrong) > 0 {
		t.Errorf("%d went wrong, the first: %s", len(wrong), wrong[0])
	}
	slices.Sort(times)
	t.Logf("%d embeddings: half within %v, 99 of 100 within %v", len(times), times[len(times)/2], times[len(times)*99/100])
	if n := settle(before); n > before+2 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// TestCancels: five hundred drawings whose clients leave leave nothing behind: no goroutine,
// no block of the device, no memory.
func TestCancels(t *testing.T) {
	w := newWorld(t, func(_ *Options, l *work.Limits) { l.Waiting = 1000 })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	draw := func(ctx context.Context) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL+"/v1/images/generations",
			strings.NewReader(`{"prompt": "a", "steps": 50, "stream": true, "partial_images": 3}`))
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	before, blocks := runtime.NumGoroutine(), w.dev.blocks.Load()
	var heap [2]uint64
	for round := range 2 {
		var wait sync.WaitGroup
		for range 250 {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(1500))*time.Millisecond)
				defer cancel()
				draw(ctx)
			})
		}
		wait.Wait()
		if n := settle(before); n > before+2 {
			t.Errorf("%d goroutines, %d before", n, before)
		}
		held := w.dev.blocks.Load // by a batch that still ends
		for deadline := time.Now().Add(20 * time.Second); held() != blocks && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		if n := held(); n != blocks {
			t.Errorf("%d blocks of the device are held, %d before", n, blocks)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap[round] = m.HeapAlloc
	}
	if heap[1] > heap[0]+20<<20 {
		t.Errorf("the heap grew from %d MB to %d MB", heap[0]>>20, heap[1]>>20)
	}
	var a struct{ Data []object }
	w.get(t, "/v1/images/generations", object{"prompt": "a", "steps": 1}, &a)
	_, text := w.ask(t, "/metrics", nil)
	if !strings.Contains(text, `parley_requests_waiting{lane="drawings"} 0`) {
		t.Error("something still waits")
	}
}

// FuzzRoutes: no body makes a fault of the program, or an answer that is no JSON.
func FuzzRoutes(f *testing.F) {
	paths := []string{"/v1/images/generations", "/v1/embeddings", "/v1/caption", "/v1/score", "/v1/reconstruct", "/sdapi/v1/txt2img",
		"/sdapi/v1/img2img",
		"/sdapi/v1/interrogate", "/sdapi/v1/options", "/sdapi/v1/png-info", "/v1/images/edits", "/v1/images/variations", "/predict"}
	for i := range paths {
		f.Add(uint8(i), []byte(`{"prompt": "a", "steps": 1}`))
		f.Add(uint8(i), []byte(`{"image": "aGVsbG8=", "input": ["a", {"image": "x"}], "text": "a", "k": 1, "steps": 1}`))
		f.Add(uint8(i), []byte("--x\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n--x--\r\n"))
	}
	w := newWorldOf(f, func(o *Options, _ *work.Limits) { o.Steps, o.N, o.Pixels = 1, 1, 64*64 })
	f.Fuzz(func(t *testing.T, route uint8, body []byte) {
		path := paths[int(route)%len(paths)]
		r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		if strings.Contains(path, "edits") || strings.Contains(path, "variations") || path == "/predict" {
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		}
		out := httptest.NewRecorder()
		w.s.ServeHTTP(out, r)
		if out.Code == 0 || out.Header().Get("Content-Type") == "application/json" && !json.Valid(out.Body.Bytes()) {
			t.Errorf("%s: %d %s", path, out.Code, out.Body.String())
		}
		if l := w.logs.String(); strings.Contains(l, "a fault of the program") {
			t.Errorf("%s: %s", path, l)
		}
	})
}
