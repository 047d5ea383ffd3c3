package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// served starts the server with flags, and stops it at the test's end.
func served(t *testing.T, flags ...string) (url string, stop func() (code int, errs string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	var errs strings.Builder
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, flags...), w, &errs)
		w.Close()
		ended <- code
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("serve %v: %d %s", flags, <-ended, errs.String())
	}
	go io.Copy(io.Discard, r)
	done := false
	stop = func() (int, string) {
		done = true
		cancel()
		return <-ended, errs.String()
	}
	t.Cleanup(func() {
		if !done {
			stop()
		}
	})
	return strings.TrimSpace(line), stop
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// TestServe: each flag of the server does what it says.
func TestServe(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop := served(t, "--key-file", key, "--max-n", "2")
	if code, text := post(t, url+"/v1/images/generations", `{"prompt": "a", "steps": 1}`); code != 401 {
		t.Errorf("without the key: %d %s", code, text)
	}
	if code, errs := stop(); code != 0 || errs != "" {
		t.Errorf("stopped: %d %s", code, errs)
	}
	url, _ = served(t, "--max-n", "2", "--max-steps", "3", "--max-body", "1", "--max-pixels", "5000", "--max-prompt", "10", "--queue", "1",
		"--batch", "1", "--cors", "https://a.example")
	for body, want := range map[string]string{
		`{"prompt": "a", "steps": 1}`:                      "200",
		`{"prompt": "a", "n": 3}`:                          "400 n: 3: want 1 to 2",
		`{"prompt": "a", "steps": 4}`:                      "400 steps: 4: want 1 to 3",
		`{"prompt": "a", "steps": 1, "size": "80x64"}`:     "413 a picture may have 5000 pixels",
		`{"prompt": "eleven byte"}`:                        "400 a prompt may have 10 bytes",
		`{"prompt": "a", "steps": 1, "n": 2}`:              "429 drawings are waiting",
		`{"prompt": "` + strings.Repeat("a", 1<<20) + `"}`: "413 a request may have 1048576 bytes",
	} {
		code, text := post(t, url+"/v1/images/generations", body)
		number, words, _ := strings.Cut(want, " ")
		if fmt.Sprint(code) != number || !strings.Contains(text, words) {
			t.Errorf("%.60s: %d %s, want %s", body, code, text, want)
		}
	}
	req, err := http.NewRequest(http.MethodGet, url+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://a.example")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get("Access-Control-Allow-Origin") != "https://a.example" {
		t.Error("--cors does nothing")
	}
	if code, text := post(t, url+"/v1/images/generations", `{"prompt": "a", "steps": 1, "model": "mini-sd"}`); code != 200 {
		t.Errorf("by its name: %d %s", code, text)
	}

	file := filepath.Join(t.TempDir(), "jobs.db")
	for round := range 2 {
		url, stop = served(t, "--jobs", file, "--keep-jobs", "2")
		for range 2 - round {
			if code, text := post(t, url+"/v1/reconstruct", `{"text": "a", "k": 1, "steps": 1}`); code != 200 {
				t.Errorf("%d %s", code, text)
			}
		}
		resp, err := http.Get(url + "/v1/jobs")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if n := strings.Count(string(text), `"state":"done"`); n != 2 {
			t.Errorf("--jobs, round %d: %d jobs: %s", round, n, text)
		}
		stop()
	}
	url, _ = served(t, "--deadline", "1ms", "--sd", "../../weights/mini/models/sd")
	if code, text := post(t, url+"/v1/images/generations", `{"prompt": "a", "model": "sd"}`); code != http.StatusGatewayTimeout {
		t.Errorf("--deadline: %d %s", code, text)
	}
}

// TestServeStops: what runs when the server is stopped is finished within --grace, and
// ended with a word where it takes longer.
func TestServeStops(t *testing.T) {
	for _, test := range []struct {
		grace string
		code  int // of the program
		want  int // of the request
	}{{"1m", 0, 200}, {"50ms", 1, 503}} {
		url, stop := served(t, "--grace", test.grace, "--max-steps", "1000")
		steps := 60
		if test.code == 1 {
			steps = 1000
		}
		answers := make(chan int, 1)
		go func() {
			resp, err := http.Post(url+"/v1/images/generations", "application/json", strings.NewReader(fmt.Sprintf(`{"prompt": "a", "steps": %d}`,
				steps)))
			if err != nil {
				t.Error(err)
				answers <- 0
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
		deadline := time.Now().Add(time.Minute)
		for {
			resp, err := http.Get(url + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(text), `parley_requests_running{lane="drawings"} 1`) || time.Now().After(deadline) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		code, errs := stop()
		if answer := <-answers; code != test.code || answer != test.want || (code == 1) != strings.Contains(errs, "longer than 50ms") {
			t.Errorf("--grace %s: %d, the request %d, %s", test.grace, code, answer, errs)
		}
	}
}

// TestServeRefuses: what cannot be served is said before the models are loaded.
func TestServeRefuses(t *testing.T) {
	t.Setenv("PARLEY_API_KEY", "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	empty := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--listen 0.0.0.0:0":                "2 set an API key",
		"--listen :0":                       "2 set an API key",
		"--listen [::]:0":                   "2 set an API key",
		"--listen 8080":                     "2 want HOST:PORT",
		"--cors a.example":                  "2 want an origin such as https://example.org",
		"--cors https://a.example/x":        "2 want an origin such as",
		"--listen " + ln.Addr().String():    "1 address already in use",
		"--key-file /nonexistent/key":       "1 --key-file",
		"--key-file " + empty:               "1 is empty",
		"--deadline 0s":                     "2 --deadline and --grace",
		"--max-n 0":                         "2 want 1 to",
		"--batch 100000":                    "2 want 1 to",
		"--listen 127.0.0.1:0 --sd missing": "1 --sd",
	} {
		code, _, errs := call(t, append([]string{"serve"}, strings.Fields(args)...)...)
		number, words, _ := strings.Cut(want, " ")
		if fmt.Sprint(code) != number || !strings.Contains(errs, words) {
			t.Errorf("%s: %d %s, want %s", args, code, errs, want)
		}
	}
}
