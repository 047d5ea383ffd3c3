package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// profile runs ncu on the heaviest launch of each kernel of a step. Clocks stay as
// they are: they are not ours to set. What it says goes to ncu.csv whole, and what
// tells a bound to figures.
func profile(b *bench) error {
	if !b.hardware() {
		return skipped("the interpreter is no device of ncu's")
	}
	ncu, err := exec.LookPath("ncu")
	if err != nil {
		return skipped("there is no ncu")
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"--clock-control", "none", "--csv", "--page", "details"}
	for _, s := range []string{"SpeedOfLight", "MemoryWorkloadAnalysis", "ComputeWorkloadAnalysis", "LaunchStats", "Occupancy",
		"SchedulerStats", "WarpStateStats"} {
		args = append(args, "--section", s)
	}
	cmd := exec.CommandContext(b.ctx, ncu, append(append(args, exe, "launches"), b.args()...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	path := filepath.Join(os.Getenv("PARLEY_RESULTS"), "ncu.csv")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	kernels := b.counters(io.TeeReader(out, &limited{f, 15 << 20}))
	err = cmd.Wait()
	if kernels == 0 {
		return fmt.Errorf("ncu says nothing of a kernel: %v (log.txt)", err)
	}
	b.Figure("kernels profiled", float64(kernels), "kernels")
	return err
}

// limited drops what would make a file too large to come back.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left > 0 {
		if _, err := l.w.Write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// telling are the metrics that say what bounds a kernel.
var telling = regexp.MustCompile(`^(Duration|SM Frequency|Compute \(SM\) Throughput|Memory Throughput|DRAM Throughput|` +
	`L2 Hit Rate|L2 Cache Throughput|Achieved Occupancy|Registers Per Thread|Issue Slots Busy|Warp Cycles Per Issued Instruction)$`)

// counters reads ncu's CSV, which comes after lines of its own, and returns how many
// kernels it names.
func (b *bench) counters(r io.Reader) int {
	lines := bufio.NewReader(r)
	for { // to the head
		line, err := lines.ReadString('\n')
		if err != nil {
			return 0
		}
		if strings.HasPrefix(line, `"ID",`) {
			lines = bufio.NewReader(io.MultiReader(strings.NewReader(line), lines))
			break
		}
		fmt.Fprint(os.Stderr, line)
	}
	c := csv.NewReader(lines)
	c.FieldsPerRecord, c.LazyQuotes = -1, true
	head, err := c.Read()
	if err != nil {
		return 0
	}
	column := map[string]int{}
	for i, h := range head {
		column[h] = i
	}
	kernel, metric, unit, value := column["Kernel Name"], column["Metric Name"], column["Metric Unit"], column["Metric Value"]
	seen := map[string]bool{}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(row) <= max(kernel, metric, unit, value) {
			continue
		}
		name, _, _ := strings.Cut(row[kernel], "(")
		seen[name] = true
		if v, err := strconv.ParseFloat(strings.ReplaceAll(row[value], ",", ""), 64); err == nil && telling.MatchString(row[metric]) {
			if row[unit] == "" {
				row[unit] = "1"
			}
			b.Figure(strings.TrimSpace(name)+", "+row[metric], v, row[unit])
		}
	}
	return len(seen)
}

// The last line of a tool of compute-sanitizer; racecheck's has words of its own.
var summary = regexp.MustCompile(`^========= (?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)`)

// findings reads what a tool of compute-sanitizer prints: how many errors its summary
// has, -1 without one, and the lines that tell of the first.
func findings(r io.Reader) (errors int, told []string) {
	errors = -1
	for s := bufio.NewScanner(r); s.Scan(); {
		fmt.Fprintln(os.Stderr, s.Text()) // to the log
		if m := summary.FindStringSubmatch(s.Text()); m != nil {
			errors, _ = strconv.Atoi(m[1] + m[2]) // digits
		} else if strings.HasPrefix(s.Text(), "=========") && len(told) < 12 {
			told = append(told, s.Text())
		}
	}
	return errors, told
}

// sanitize runs the suites under compute-sanitizer, a tool after another: an access
// out of bounds, a race, what nobody wrote, a barrier that not all reach.
func sanitize(b *bench) error {
	if !b.hardware() {
		return skipped("the interpreter has its own sanitizer, which `make test` runs")
	}
	tool, err := exec.LookPath("compute-sanitizer")
	if err != nil {
		return skipped("there is no compute-sanitizer")
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	// Small nets first, which have launches of every room: each access costs a hundred
	// here. Then all of the suites, if there is time.
	for _, c := range [][2]string{{"memcheck", "rooms"}, {"racecheck", "rooms"}, {"synccheck", "rooms"}, {"initcheck", "rooms"}, {"memcheck",
		"operations"}} {
		t := c[0] + " of " + c[1]
		if b.late() {
			b.Note("%s was left for want of time", t)
			continue
		}
		cmd := exec.CommandContext(b.ctx, tool, append([]string{"--tool", c[0], "--error-exitcode", "9", exe, c[1]}, b.args()...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return err
		}
		n, told := findings(out)
		err = cmd.Wait()
		switch {
		case n < 0:
			b.Fail("%s came to no summary: %v: %s", t, err, strings.Join(told, "\n"))
		case n > 0 || err != nil:
			b.Fail("%s: %d errors, %v: %s", t, n, err, strings.Join(told, "\n"))
		default:
			b.Figure(t, 0, "errors")
		}
	}
	return nil
}
