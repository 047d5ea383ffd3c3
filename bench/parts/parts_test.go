//go:build linux

package parts

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"parley/output/fulldisk"
)

// TestMain lets the test binary be the program of each part.
func TestMain(m *testing.M) {
	if what := os.Getenv("PART"); what != "" {
		play(what)
		return
	}
	os.Exit(m.Run())
}

// play is a part of some kind.
func play(what string) {
	s := NewSpeaker(os.Stdout)
	switch what {
	case "good":
		s.Figure("speed", 123.456, "m/s", 120, 130)
		s.Note("as fast as it looks")
		s.Table("m", "n")
		s.Row("1", "2")
		s.Row("3", "a, b")
	case "hang": // with a child in its group and a daemon in none
		s.Figure("before it hangs", 1, "s")
		child("sleep", false)
		child("sleep", true)
		time.Sleep(time.Hour)
	case "leaves": // ends, and what it started holds stdout and stderr
		s.Figure("at its end", 1, "s")
		child("sleep", false)
		child("sleep", true)
	case "crash":
		s.Figure("before it crashes", 1, "s")
		fmt.Fprintln(os.Stderr, "the reason is told on stderr")
		_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		time.Sleep(time.Hour)
	case "nonsense":
		fmt.Println("Segmentation fault (core dumped)")
		fmt.Println(`{"figure": {"name": "of another protocol"}, "more": 1}`)
		fmt.Println(`{"figure": {"name": "", "value": 1, "unit": "s"}}`)
		fmt.Println(`{"figure": {"name": "too large", "value": 1e999, "unit": "s"}}`)
		os.Stdout.Write(append([]byte{0, 0xff, 0xfe}, make([]byte, 3*longestLine)...))
		fmt.Println()
		s.Figure("between", 2, "s")
		s.Row("without", "a head")
	case "flood":
		w := bufio.NewWriter(os.Stdout)
		for {
			fmt.Fprintln(w, `{"note": "again"}`)
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "run": // a run of its own, that somebody kills
		f, err := Create(os.Getenv("OUT_DIR"), Report{Title: "killed"})
		if err != nil {
			panic(err)
		}
		run(f, time.Minute, "good", "hang").Do(context.Background())
	case "skip":
		s.Skip("there is no such thing here")
	case "fills": // the disk, and speaks while it is full
		if err := fill(os.Getenv("DISK")); err != nil {
			panic(err)
		}
		s.Figure("with a full disk", 1, "s")
		s.Table("m", "n")
		for i := range 200 { // beyond the pages that the files have
			s.Note("more: %d", i)
		}
	case "frees":
		if err := os.Remove(filepath.Join(os.Getenv("DISK"), "big")); err != nil {
			panic(err)
		}
		s.Figure("with room again", 1, "s")
	case "talks": // more than its share of the log
		for range mostLog/512 + 4 {
			fmt.Fprintln(os.Stderr, strings.Repeat("x", 511))
		}
		s.Figure("said", 1, "s")
	case "silent":
	case "nan":
		s.Figure("nothing", 0/zero, "s")
	}
}

var zero float64

// fill writes to a file until the disk is full.
func fill(disk string) error {
	f, err := os.Create(filepath.Join(disk, "big"))
	if err != nil {
		return err
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 1<<10))
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// child starts this program again and writes its number where the test looks.
func child(what string, daemon bool) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PART="+what)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: daemon}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	f, err := os.OpenFile(os.Getenv("PIDS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(f, cmd.Process.Pid)
	f.Close()
}

func run(f *Folder, limit time.Duration, names ...string) *Run {
	r := &Run{Folder: f, Limit: limit, Log: io.Discard, Again: func(p string) string { return "run " + p }}
	for _, n := range names {
		p := Part{Name: n, What: "a part that does " + n, Command: []string{os.Args[0]}, Env: []string{"PART=" + n}, Limit: 20 * time.Second}
		if n == "hang" {
			p.Limit = time.Second
		}
		r.Parts = append(r.Parts, p)
	}
	return r
}

// reported is what a folder's report.json says.
func reported(t *testing.T, f *Folder) (r Report) {
	t.Helper()
	data, err := os.ReadFile(f.Path("report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// gone waits for the processes of a list to end.
func gone(t *testing.T, list string, want int) {
	t.Helper()
	data, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(string(data))
	if len(pids) != want {
		t.Fatalf("%d processes started, want %d", len(pids), want)
	}
	for _, p := range pids {
		pid, err := strconv.Atoi(p)
		if err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			if time.Now().After(until) {
				t.Errorf("process %d lives on: %s", pid, stat)
				break
			}
		}
	}
}

// TestParts: what goes wrong in a part costs that part alone.
func TestParts(t *testing.T) {
	dir, pids := t.TempDir(), filepath.Join(t.TempDir(), "pids")
	t.Setenv("PIDS", pids)
	f, err := Create(dir, Report{Title: "rehearsal", Command: "go test"})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"hang", "good", "leaves", "crash", "nonsense", "flood", "silent", "skip", "nan", "missing", "good", "talks", "crash"}
	r := run(f, time.Minute, names...)
	r.Parts[9].Command = []string{filepath.Join(dir, "no such program")}
	r.Parts[10].Name, r.Parts[10].Least = "late", time.Hour
	began := time.Now()
	r.Do(t.Context())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	gone(t, pids, 4)
	have := reported(t, f)
	for i, want := range []struct {
		failure string // part of the only one
		figures int
		skipped string
	}{
		{"killed after 1 s", 1, ""},
		{"", 1, ""},
		{"2 processes that it left behind were killed", 1, ""}, // killed by group, or found
		{"the reason is told on stderr", 1, ""},
		{"lines that say nothing, the first: \"Segmentation fault", 1, ""},
		{"more than 50000 events", 0, ""},
		{"ended without a figure", 0, ""},
		{"", 0, "no such thing"},
		{"nothing is NaN", 0, ""},
		{"no such program", 0, ""},
		{"", 0, "it needs 3600"},
		{"", 1, ""},
		{"the reason is told on stderr", 1, ""},
	} {
		p := have.Parts[i]
		failures := strings.Join(p.Failures, "; ")
		if (failures == "") != (want.failure == "") && i != 2 || i != 2 && !strings.Contains(failures, want.failure) ||
			len(p.Figures) != want.figures || !strings.Contains(p.Skipped, want.skipped) || (p.Skipped == "") != (want.skipped == "") {
			t.Errorf("%s: %+v", names[i], p)
		}
	}
	if n := have.Parts[4].Failures; len(n) != 2 || !strings.Contains(n[0], "rows without a head") || !strings.Contains(n[1],
		"lines that say nothing") {
		t.Errorf("nonsense: %q", n)
	}
	if g := have.Parts[1]; g.Figures[0].Value != 123.46 || fmt.Sprint(g.Figures[0].Between) != "[120 130]" || len(g.Notes) != 1 ||
		g.Command != "run good" {
		t.Errorf("good: %+v", g)
	}
	// Who talks much takes no room of who comes after.
	text, err := os.ReadFile(f.Path("log.txt"))
	if _, last, _ := strings.Cut(string(text), "=== talks"); err != nil || len(last) > mostLog+32<<10 ||
		!strings.Contains(last, "=== and more") || !strings.Contains(last, "the reason is told on stderr") {
		t.Errorf("%d bytes of log from there on, %v", len(last), err)
	}
	rows, err := os.Open(f.Path("good.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if l, err := csv.NewReader(rows).ReadAll(); err != nil || fmt.Sprint(l) != "[[m n] [1 2] [3 a, b]]" {
		t.Errorf("table %v, %v", l, err)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) > mostFiles {
		t.Errorf("%d files: %v", len(list), err)
	}
	for _, e := range list {
		if i, err := e.Info(); err != nil || i.Size() > mostBytes {
			t.Errorf("%s: %v, %v", e.Name(), i.Size(), err)
		}
	}
	page, err := os.ReadFile(f.Path("report.md"))
	for _, want := range []string{"# rehearsal", "**failed**, crash", "| speed | 123.5 | m/s | 120–130 |",
		"Left out: there is no such thing here."} {
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("no %q in the page, %v:\n%s", want, err, page)
		}
	}
	// A second run leaves the first one's results.
	second, err := Create(dir, Report{})
	if err != nil || second.Path() != filepath.Join(dir, "2") {
		t.Fatalf("%v, %v", second.Path(), err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if third, err := Create(dir, Report{}); err != nil || third.Path() != filepath.Join(dir, "3") || third.Close() != nil {
		t.Errorf("%v", err)
	}
}

// TestFullDisk: a part that fills the disk costs what was to be written meanwhile.
func TestFullDisk(t *testing.T) { fulldisk.Run(t, "256k", fullDisk) }

func fullDisk(t *testing.T, disk string) {
	t.Setenv("DISK", disk)
	f, err := Create(filepath.Join(disk, "out"), Report{})
	if err != nil {
		t.Fatal(err)
	}
	run(f, time.Minute, "good", "fills", "crash", "frees").Do(t.Context())
	if err := f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want that there was no space", err)
	}
	have := reported(t, f)
	for i, p := range have.Parts {
		if len(p.Figures) != 1 {
			t.Errorf("%s: %d figures", p.Name, len(p.Figures))
		}
		if (len(p.Failures) > 0) != (i == 1 || i == 2) {
			t.Errorf("%s: %q", p.Name, p.Failures)
		}
	}
	lines, err := os.ReadFile(f.Path("events.jsonl"))
	torn := 0
	for line := range strings.Lines(string(lines)) {
		if whole := json.Valid([]byte(line)); !whole && strings.Count(line, `"part"`) != 1 {
			t.Errorf("events have %q", line)
		} else if !whole {
			torn++
		}
	}
	if last := `"with room again","value":1,"unit":"s"}}`; err != nil || !strings.HasSuffix(string(lines), last+"\n") {
		t.Errorf("events end without %s: %q", last, lines)
	}
	if torn > 1 {
		t.Errorf("%d events are cut off, where the disk was full once", torn)
	}
	if err := fill(disk); err != nil {
		t.Fatal(err)
	}
	f.write()
	if _, err := os.Stat(f.Path(".report")); err == nil {
		t.Error("a report that could not be written is left")
	}
}

// TestLimit: a run ends at its limit, with what it has.
func TestLimit(t *testing.T) {
	f, err := Create(t.TempDir(), Report{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	run(f, reserve+500*time.Millisecond, "sleep", "good").Do(t.Context())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	p := f.Report().Parts
	if len(p) != 2 || !strings.Contains(fmt.Sprint(p[0].Failures), "killed after") || p[1].Skipped == "" {
		t.Errorf("%+v %+v", p[0], p[1])
	}
}

// TestStopped: a run that is stopped says after how long, and begins no other part.
func TestStopped(t *testing.T) {
	f, err := Create(t.TempDir(), Report{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, stop)
	run(f, time.Hour, "sleep", "good").Do(ctx)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p := f.Report().Parts
	failed := fmt.Sprint(p[0].Failures)
	if len(p) != 2 || !strings.Contains(failed, "context canceled") || strings.Contains(failed, "after 20 s") || p[1].Skipped != "stopped" {
		t.Errorf("%+v %+v", p[0], p[1])
	}
}

// TestUndying: a process that does not end when it is killed is left behind. One that
// nobody waits for stands for it.
func TestUndying(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PART=sleep")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	ended := make(chan error, 1)
	go func() { ended <- (&process{cmd: cmd, done: make(chan struct{})}).wait(ctx, nil, 50*time.Millisecond) }()
	select {
	case err := <-ended:
		if !errors.Is(err, errLives) {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits for ever")
	}
}

// TestKilled: a run that is killed has left what it had. What its part had started is
// ended here, since nobody is there to do it.
func TestKilled(t *testing.T) {
	dir, pids := t.TempDir(), filepath.Join(t.TempDir(), "pids")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PART=run", "OUT_DIR="+dir, "PIDS="+pids)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(20 * time.Second)
	for {
		data, _ := os.ReadFile(filepath.Join(dir, "events.jsonl"))
		list, _ := os.ReadFile(pids)
		if strings.Contains(string(data), "before it hangs") && len(strings.Fields(string(list))) == 2 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("nothing was written")
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	list, err := os.ReadFile(pids)
	for _, p := range strings.Fields(string(list)) {
		pid, e := strconv.Atoi(p)
		if err = errors.Join(err, e); e == nil {
			err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	if err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil || !strings.Contains(string(data), "| speed | 123.5 |") {
		t.Errorf("%v:\n%s", err, data)
	}
}

// TestGauges: the clock and the power beside a figure are those of its time.
func TestGauges(t *testing.T) {
	g := &gauges{}
	if c, p := (*gauges)(nil).since(); c != nil || p != 0 {
		t.Errorf("%v %v of none", c, p)
	}
	for _, line := range []string{"345, 70.5", " 1980, 600.5", "[N/A], [N/A]", "", "1755, 650"} {
		g.read(line)
	}
	if c, p := g.since(); fmt.Sprint(c, p) != "[345 1980] 440.33" {
		t.Errorf("%v %v", c, p)
	}
	if c, p := g.since(); fmt.Sprint(c, p) != "[1755 1755] 650" {
		t.Errorf("%v %v: the last there was", c, p)
	}
	// A query that answers as nvidia-smi does.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte("#!/bin/sh\nwhile echo 1500, 400.25; do sleep 0.05; done\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	f, err := Create(t.TempDir(), Report{})
	if err != nil {
		t.Fatal(err)
	}
	r := run(f, 20*time.Second, "good", "good")
	r.Do(t.Context())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	last := f.Report().Parts[1].Figures
	if len(last) != 1 || len(last[0].Clock) != 2 || last[0].Clock[0] != 1500 || last[0].Power != 400.25 {
		t.Errorf("%+v", last)
	}
	if len(f.Report().Parts[1].Failures) > 0 {
		t.Errorf("%v", f.Report().Parts[1].Failures)
	}
}
