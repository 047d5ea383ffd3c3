package serve

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestMetrics: what is told is as Prometheus wants it, and has what a dashboard needs.
func TestMetrics(t *testing.T) {
	w := newWorld(t, nil)
	for path, body := range map[string]any{"/v1/images/generations": object{"prompt": "a", "steps": 3, "n": 2},
		"/v1/embeddings": object{"input": "a"}, "/nowhere": object{}, "/sdapi/v1/interrogate": object{"image": ""}} {
		w.ask(t, path, body)
	}
	code, text := w.ask(t, "/metrics", nil)
	if code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, want := range []string{`parley_requests_waiting{lane="drawings"} 0`, `parley_requests_running{lane="drawings"} 0`,
		`parley_batch_size_sum{lane="drawings"} 2`, `parley_batch_seconds_count{lane="drawings"} 1`,
		`parley_queue_time_seconds_count{lane="drawings"} 2`, "parley_denoising_steps_total 6", "parley_device_memory_free_bytes ",
		`parley_request_seconds_count{code="200",route="POST /v1/embeddings"} 1`, `parley_request_seconds_count{code="404",route="none"} 1`,
		`parley_request_seconds_count{code="400",route="POST /sdapi/v1/interrogate"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
}
