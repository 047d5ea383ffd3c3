package serve

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// meters are what /metrics tells. It implements work.Watcher.
type meters struct {
	registry *prometheus.Registry
	waiting  *prometheus.GaugeVec
	running  *prometheus.GaugeVec
	waited   *prometheus.HistogramVec
	batches  *prometheus.HistogramVec
	took     *prometheus.HistogramVec
	joined   *prometheus.CounterVec
	steps    prometheus.Counter
	requests *prometheus.HistogramVec
}

// newMeters makes the meters of a server; free says what its device has free, in bytes.
func newMeters(free func() int) *meters {
	seconds := prometheus.ExponentialBuckets(0.005, 2, 16) // to about three minutes
	lane := []string{"lane"}
	m := &meters{
		registry: prometheus.NewRegistry(),
		waiting:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_requests_waiting", Help: "Jobs that wait for a batch."}, lane),
		running:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_requests_running", Help: "Jobs of the batch that runs."}, lane),
		waited: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "parley_queue_time_seconds", Help: "How long jobs waited.",
			Buckets: seconds}, lane),
		joined: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_joined_total", Help: "Jobs that joined a batch that ran."}, lane),
		batches: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "parley_batch_size", Help: "Jobs of a batch, at most at once.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64}}, lane),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "parley_batch_seconds", Help: "How long batches took.",
			Buckets: seconds}, lane),
		steps: prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_denoising_steps_total",
			Help: "Denoising steps, of all drawings together."}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "parley_request_seconds", Help: "How long requests took.",
			Buckets: seconds}, []string{"route", "code"}),
	}
	memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_device_memory_free_bytes",
		Help: "Memory that the device has free."}, func() float64 { return float64(free()) })
	m.registry.MustRegister(memory, m.waiting, m.running, m.waited, m.batches, m.took, m.joined, m.steps, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *meters) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Queue implements work.Watcher, as do the next four.
func (m *meters) Queue(lane string, waiting, running int) {
	m.waiting.WithLabelValues(lane).Set(float64(waiting))
	m.running.WithLabelValues(lane).Set(float64(running))
}

func (m *meters) Waited(lane string, d time.Duration) {
	m.waited.WithLabelValues(lane).Observe(d.Seconds())
}

func (m *meters) Joined(lane string, jobs int) { m.joined.WithLabelValues(lane).Add(float64(jobs)) }

func (m *meters) Batch(lane string, jobs int, took time.Duration) {
	m.batches.WithLabelValues(lane).Observe(float64(jobs))
	m.took.WithLabelValues(lane).Observe(took.Seconds())
}

func (m *meters) Steps(n int) { m.steps.Add(float64(n)) }

func (m *meters) request(route string, code int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(code)).Observe(took.Seconds())
}
