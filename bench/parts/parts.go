// Package parts runs the parts of a measurement on a machine that is lent for
// minutes. Each part is a process of its own, with its own time, and leaves its
// process group to be killed with it; what it finds it says at once, a line of JSON
// an event, and it is on disk before the next line is read. So a part that hangs,
// crashes or prints nonsense costs itself alone, and a run that is killed leaves
// everything up to then.
//
// A part is any program: what it writes on stdout are events (Event), what it
// writes on stderr goes to the log.
package parts

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Part is one of a run.
type Part struct {
	Name, What string
	Command    []string      // program and arguments
	Env        []string      // beside the run's
	Limit      time.Duration // at most; 0 is what the run has left
	Least      time.Duration // not begun with less left of the run
}

// Event is what a part says in one line. One of the fields is set.
type Event struct {
	Figure  *Figure  `json:"figure,omitempty"`
	Failure string   `json:"failure,omitempty"` // something is wrong
	Note    string   `json:"note,omitempty"`    // something is not as expected, or worth knowing
	Skipped string   `json:"skipped,omitempty"` // why there is nothing to say
	Row     []string `json:"row,omitempty"`
	Head    []string `json:"head,omitempty"` // of the rows that follow: a table of its own, NAME.csv
}

// Figure is one number. Of repeated measurements it is the median.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Between is the least and the largest of the repetitions.
	Between []float64 `json:"between,omitempty"`
	// What the device's own counters said while it was measured, where they can
	// be asked: MHz of the multiprocessors, least and largest, and mean W.
	Clock []float64 `json:"sm_mhz,omitempty"`
	Power float64   `json:"watts,omitempty"`
}

// Result is what a part found.
type Result struct {
	Name     string   `json:"name"`
	What     string   `json:"what"`
	Command  string   `json:"command"`
	Seconds  float64  `json:"seconds"`
	Skipped  string   `json:"skipped,omitempty"`
	Failures []string `json:"failures,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	Figures  []Figure `json:"figures,omitempty"`
}

// LimitVariable is in the environment of a part's process: the seconds after which
// it is killed, so that it can end before with what it has.
const LimitVariable = "PART_LIMIT"

// Deadline is when a part's process had better be done, in the process itself; the
// zero time where nobody said so.
func Deadline() time.Time {
	s, err := strconv.ParseFloat(os.Getenv(LimitVariable), 64)
	if err != nil {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(s*float64(time.Second)) - min(3*time.Second, time.Duration(s*float64(time.Second))/4))
}

// Speaker writes a part's events to stdout. It is safe for concurrent use.
type Speaker struct {
	mu sync.Mutex
	w  io.Writer
}

// NewSpeaker speaks to w.
func NewSpeaker(w io.Writer) *Speaker { return &Speaker{w: w} }

func (s *Speaker) say(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line, err := json.Marshal(e)
	if err != nil {
		line, _ = json.Marshal(Event{Failure: err.Error()})
	}
	// Whoever reads is gone when this fails, and kills us soon.
	_, _ = s.w.Write(append(line, '\n'))
}

// Figure says a number. One that is none is a failure: JSON has no word for it.
func (s *Speaker) Figure(name string, value float64, unit string, between ...float64) {
	for _, v := range append([]float64{value}, between...) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			s.Fail("%s is %v %s", name, v, unit)
			return
		}
	}
	s.say(Event{Figure: &Figure{Name: name, Value: value, Unit: unit, Between: between}})
}

// Fail says that something is wrong.
func (s *Speaker) Fail(format string, args ...any) {
	s.say(Event{Failure: fmt.Sprintf(format, args...)})
}

// Note says that something is not as it was expected, or worth knowing.
func (s *Speaker) Note(format string, args ...any) { s.say(Event{Note: fmt.Sprintf(format, args...)}) }

// Skip says why there is nothing to say.
func (s *Speaker) Skip(why string) { s.say(Event{Skipped: why}) }

// Table begins a table with these columns.
func (s *Speaker) Table(columns ...string) { s.say(Event{Head: columns}) }

// Row is a row of the table.
func (s *Speaker) Row(cells ...string) { s.say(Event{Row: cells}) }

// What one part may say at most: a part gone wild fills neither the disk nor the
// report.
const (
	mostEvents   = 50_000
	mostFigures  = 2000
	mostFailures = 40
	longestLine  = 64 << 10
	longestText  = 4000
)

// Run is parts one after another.
type Run struct {
	Parts  []Part
	Folder *Folder
	Limit  time.Duration // for everything
	Again  func(part string) string
	Env    []string
	GPU    int       // the driver's number of the device whose clock is watched
	Log    io.Writer // progress, for who watches

	deadline time.Time
	gauges   *gauges
	spare    []int // processes that are not a part's, or no longer
}

// errLives says that a process did not end when it was killed.
var errLives = errors.New("it lives on after it was killed")

const (
	reserve  = 2 * time.Second  // is kept of the limit to write what was found
	patience = 10 * time.Second // with what was killed: a device's memory is given back meanwhile
)

// Do runs the parts. What they found is in the folder.
func (r *Run) Do(ctx context.Context) {
	r.deadline = time.Now().Add(r.Limit)
	ctx, cancel := context.WithDeadline(ctx, r.deadline)
	defer cancel()
	if err := adopt(); err != nil {
		fmt.Fprintln(r.Log, "processes that a part leaves behind may stay:", err)
	}
	r.gauges = watch(ctx, r.GPU, r.Log)
	r.spare = []int{r.gauges.pid()}
	defer r.gauges.stop()
	told := false
	for _, p := range r.Parts {
		r.part(ctx, p)
		if err := r.Folder.err; err != nil && !told {
			fmt.Fprintln(r.Log, "not everything can be written:", err)
			told = true
		}
	}
}

func (r *Run) part(ctx context.Context, p Part) {
	began := time.Now()
	out := &Result{Name: p.Name, What: p.What, Command: r.Again(p.Name)}
	r.Folder.begin(out)
	left := time.Until(r.deadline) - reserve
	limit := left
	if p.Limit > 0 {
		limit = min(limit, p.Limit)
	}
	if ctx.Err() != nil || left <= 0 || left < p.Least {
		out.Skipped = fmt.Sprintf("%.0f s are left, it needs %.0f", max(0, left.Seconds()), p.Least.Seconds())
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			out.Skipped = "stopped"
		}
	} else {
		fmt.Fprintf(r.Log, "%s: %s (at most %.0f s)\n", p.Name, p.What, limit.Seconds())
		ctx, cancel := context.WithTimeout(ctx, limit)
		p.Env = append(slices.Clone(p.Env), fmt.Sprintf("%s=%.1f", LimitVariable, limit.Seconds()))
		err := r.process(ctx, p, out)
		if ctx.Err() != nil {
			// What it said before counts.
			after := limit
			if errors.Is(ctx.Err(), context.Canceled) {
				after = time.Since(began)
			}
			killed := fmt.Errorf("killed after %.0f s: %w", after.Seconds(), ctx.Err())
			if errors.Is(err, errLives) {
				killed = errors.Join(killed, err)
			}
			err = killed
		}
		cancel()
		if err != nil {
			out.fail(err.Error())
		}
		if out.Skipped == "" && len(out.Figures)+len(out.Failures) == 0 {
			out.fail("it ended without a figure")
		}
	}
	if out.Skipped != "" {
		fmt.Fprintf(r.Log, "%s: left out: %s\n", p.Name, out.Skipped)
	}
	out.Seconds = round(time.Since(began).Seconds())
	r.Folder.write()
}

func (r *Result) fail(text string) {
	if len(r.Failures) < mostFailures {
		r.Failures = append(r.Failures, cut(text))
	} else if len(r.Failures) == mostFailures {
		r.Failures = append(r.Failures, "and more")
	}
}

func cut(text string) string {
	text = strings.ToValidUTF8(strings.TrimSpace(text), "?")
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText/2]+" … "+text[len(text)-longestText/2:], "")
	}
	return text
}

// process runs the part's program and takes its events.
func (r *Run) process(ctx context.Context, p Part, out *Result) error {
	cmd := exec.Command(p.Command[0], p.Command[1:]...)
	cmd.Env = append(append(os.Environ(), r.Env...), p.Env...)
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	tail := &tail{w: r.Folder.log(p.Name)}
	cmd.Stdout, cmd.Stderr = write, tail
	cmd.WaitDelay = 2 * time.Second // for stderr, which a process left behind may hold
	running, err := start(cmd)
	write.Close()
	if err != nil {
		return err
	}
	// What is killed at the run's limit has the reserve to end in.
	patience := patience
	if d, ok := ctx.Deadline(); ok {
		patience = max(min(patience, r.deadline.Sub(d)), time.Second)
	}
	// The group dies with the part, whether it came to its end or not; then stdout
	// ends too, whoever held it.
	ended := make(chan error, 1)
	go func() {
		ended <- running.wait(ctx, r.spare, patience)
		time.AfterFunc(time.Second, func() { read.SetReadDeadline(time.Now()) })
	}()
	bad, first, wild := 0, "", error(nil)
	lines, events := bufio.NewReaderSize(read, longestLine), 0
	for wild == nil {
		line, err := lines.ReadSlice('\n')
		halved := errors.Is(err, io.EOF) && ctx.Err() != nil // what it was saying when it was killed
		if len(bytes.TrimSpace(line)) > 0 && !halved {
			var e Event
			switch events++; {
			case events > mostEvents:
				wild = fmt.Errorf("more than %d events", mostEvents)
				running.kill()
			case strict(line, &e) == nil:
				r.take(out, e)
			default:
				if bad++; bad == 1 {
					first = string(line)
				}
			}
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue // a line too long is nonsense in pieces
		}
		if err != nil {
			break
		}
	}
	if wild != nil {
		running.kill()
	}
	err = <-ended
	if errors.Is(err, errLives) {
		r.spare = append(r.spare, running.cmd.Process.Pid)
	}
	if bad > 0 {
		out.fail(fmt.Sprintf("%d lines that say nothing, the first: %.200q", bad, first))
	}
	if err != nil && wild == nil {
		err = fmt.Errorf("%w: %s", err, tail)
	}
	return errors.Join(err, wild)
}

// strict reads an event and nothing else.
func strict(line []byte, e *Event) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(e); err != nil {
		return err
	}
	if d.More() || e.Figure == nil && e.Failure == "" && e.Note == "" && e.Skipped == "" && e.Row == nil && e.Head == nil {
		return errors.New("no event")
	}
	if f := e.Figure; f != nil && (f.Name == "" || f.Unit == "") {
		return errors.New("a figure without a name or a unit")
	}
	return nil
}

// take puts an event on disk and in the result.
func (r *Run) take(out *Result, e Event) {
	if f := e.Figure; f != nil {
		f.Clock, f.Power = r.gauges.since()
		f.Name, f.Value = cut(f.Name), round(f.Value)
		for i := range f.Between {
			f.Between[i] = round(f.Between[i])
		}
		if len(out.Figures) < mostFigures {
			out.Figures = append(out.Figures, *f)
		} else if len(out.Figures) == mostFigures {
			out.Figures = append(out.Figures, Figure{Name: "and more, in events.jsonl", Value: mostFigures, Unit: "figures"})
		}
		fmt.Fprintf(r.Log, "  %-72s %12.5g %s\n", f.Name, f.Value, f.Unit)
	}
	if e.Failure != "" {
		out.fail(e.Failure)
		fmt.Fprintf(r.Log, "  FAILED: %s\n", cut(e.Failure))
	}
	if e.Note != "" {
		if len(out.Notes) < mostFailures {
			out.Notes = append(out.Notes, cut(e.Note))
		}
		fmt.Fprintf(r.Log, "  note: %s\n", cut(e.Note))
	}
	if e.Skipped != "" {
		out.Skipped = cut(e.Skipped)
	}
	r.Folder.take(out.Name, e)
}

func round(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	scale := math.Pow(10, 4-math.Floor(math.Log10(math.Abs(v))))
	if math.IsInf(scale, 0) || scale == 0 {
		return v
	}
	return math.Round(v*scale) / scale
}

// tail writes through and remembers the beginning, where a crash says why, and the
// end.
type tail struct {
	mu         sync.Mutex
	w          io.Writer
	start, end []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rest := p
	if n := min(longestText/4-len(t.start), len(rest)); n > 0 {
		t.start, rest = append(t.start, rest[:n]...), rest[n:]
	}
	t.end = append(t.end, rest...)
	if n := len(t.end) - longestText/2; n > 0 {
		t.end = append(t.end[:0], t.end[n:]...)
	}
	_, _ = t.w.Write(p) // a log that is full stops no part
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.start)+string(t.end)), "?")
}
