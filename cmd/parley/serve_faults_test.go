package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fetch gets an address.
func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestServeKilled: after a kill -9 in the middle of a job, a server on the same file shows
// the job that was done with its result, says of the other that it has failed and why, and
// takes new ones.
func TestServeKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jobs.db")
	c := parley(t, "serve", "--listen", "127.0.0.1:0", "--jobs", file, "--max-steps", "1000")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			c.Process.Kill()
			c.Wait()
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(line)
	if code, text := post(t, url+"/v1/reconstruct", `{"text": "a cat", "k": 1, "steps": 1}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	code, text := post(t, url+"/v1/reconstruct", `{"text": "a dog", "k": 1, "steps": 1000, "background": true}`)
	var job struct{ ID string }
	if err := json.Unmarshal([]byte(text), &job); err != nil || code != http.StatusAccepted {
		t.Fatalf("%d %s %v", code, text, err)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(fetch(t, url+"/metrics"), `parley_requests_running{lane="drawings"} 1`); {
		if time.Now().After(deadline) {
			t.Fatal("the job does not run")
		}
		time.Sleep(time.Millisecond)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	killed = true
	url, _ = served(t, "--jobs", file)
	var list struct {
		Data []struct{ ID, Title, State, Error, Ended string }
	}
	if err := json.Unmarshal([]byte(fetch(t, url+"/v1/jobs")), &list); err != nil || len(list.Data) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if j := list.Data[0]; j.ID != job.ID || j.State != "failed" || !strings.Contains(j.Error, "stopped before it was done") || j.Ended == "" {
		t.Errorf("what ran: %+v", j)
	}
	if j := list.Data[1]; j.State != "done" || !strings.Contains(fetch(t, url+"/v1/jobs/"+j.ID), "data:image/png;base64,") {
		t.Errorf("what was done: %+v", j)
	}
	if code, text := post(t, url+"/v1/reconstruct", `{"text": "a", "k": 1, "steps": 1}`); code != http.StatusOK {
		t.Errorf("then: %d %s", code, text)
	}
}

// TestServeModelReplaced: a checkpoint whose files are cut short, or removed, while it is
// served is served on as it was loaded.
func TestServeModelReplaced(t *testing.T) {
	dir := filepath.Join(plain(t), "sd")
	url, _ := served(t, "--sd", dir)
	draw := func() string {
		t.Helper()
		code, text := post(t, url+"/v1/images/generations", `{"prompt": "a cat", "steps": 2, "seed": 3}`)
		var a struct {
			Data []struct {
				B64 string `json:"b64_json"`
			}
		}
		if err := json.Unmarshal([]byte(text), &a); code != http.StatusOK || err != nil || len(a.Data) != 1 {
			t.Fatalf("%d %.200s %v", code, text, err)
		}
		return a.Data[0].B64
	}
	want := draw()
	for _, fault := range []func(path string) error{func(path string) error { return os.Truncate(path, 0) }, os.Remove} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return fault(path)
		})
		if err != nil {
			t.Fatal(err)
		}
		if draw() != want {
			t.Error("another picture than before")
		}
	}
}
