package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"parley/engine"
)

// commit is what was built; the linker sets it.
var commit = "unknown"

// report is the JSON of a run.
type report struct {
	Date     string   `json:"date"`
	Commit   string   `json:"commit"`
	Hardware bool     `json:"hardware"` // false: the interpreter, whose times say nothing of a GPU
	Small    bool     `json:"small"`
	Machine  machine  `json:"machine"`
	Device   device   `json:"device"`
	Seconds  float64  `json:"seconds"`
	Failures []string `json:"failures"`
	Parts    []part   `json:"parts"`
}

type machine struct {
	System string `json:"system"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Driver string `json:"driver"`
}

type device struct {
	Name     string  `json:"name"`
	Compute  string  `json:"compute_capability"`
	SMs      int     `json:"multiprocessors"`
	Memory   int     `json:"memory_bytes"`
	Free     int     `json:"free_bytes"`
	PeakF16  float64 `json:"peak_f16_tflops,omitempty"` // dense, f32 accumulation, of the data sheet
	PeakGBps float64 `json:"peak_memory_gbps,omitempty"`
}

// sheets are NVIDIA's data sheets: dense f16 TFLOP/s with f32 accumulation, and
// GB/s of memory. The first whose words are all in a device's name counts.
var sheets = []struct {
	words        string
	tflops, gbps float64
}{
	{"H100 HBM3", 989.4, 3352},
	{"H100 NVL", 835.5, 3938},
	{"H100 PCIe", 756.5, 2039},
	{"H200", 989.4, 4800},
	{"A100 80GB", 311.9, 2039},
	{"A100", 311.9, 1555},
	{"L40S", 362, 864},
	{"L4", 121, 300},
	{"RTX 4090", 165.2, 1008},
	{"RTX 3090", 71, 936},
}

// peak is a device's, 0 where it is not known.
func peak(name string) (tflops, gbps float64) {
sheet:
	for _, s := range sheets {
		for _, w := range strings.Fields(s.words) {
			if !strings.Contains(name, w) {
				continue sheet
			}
		}
		return s.tflops, s.gbps
	}
	return 0, 0
}

// describe opens the device for a moment.
func describe(o options) (*report, error) {
	r := &report{Date: time.Now().UTC().Format("2006-01-02"), Commit: commit, Small: o.small, Hardware: o.device != "ptx", Failures: []string{}}
	r.Machine = machine{System: first("/etc/os-release", "PRETTY_NAME="), CPU: first("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
		Memory: first("/proc/meminfo", "MemTotal"), Driver: first("/proc/driver/nvidia/version", "NVRM version")}
	b := &bench{options: o, part: &part{}}
	if err := b.open(engine.F16); err != nil {
		return nil, err
	}
	i := b.dev.Info()
	r.Device = device{Name: i.Name, Compute: fmt.Sprintf("%d.%d", i.Major, i.Minor), SMs: b.dev.SMs(), Memory: i.Total, Free: i.Free}
	r.Device.PeakF16, r.Device.PeakGBps = peak(i.Name)
	b.close()
	if !r.Hardware {
		r.Machine.Driver = "the interpreter of PTX"
	}
	return r, nil
}

// first is what follows a key in a text of keys and values.
func first(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), key); ok {
			return strings.Trim(rest, " \t:\"=")
		}
	}
	return "unknown"
}

func round(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// save writes date-device.json and .md and returns the table's path.
func (r *report) save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(r.Device.Name))
	if r.Small {
		name += "-small"
	}
	base := filepath.Join(dir, r.Date+"-"+name)
	for i := range r.Parts {
		for j := range r.Parts[i].Figures {
			f := &r.Parts[i].Figures[j]
			if math.IsNaN(f.Value) || math.IsInf(f.Value, 0) {
				r.Failures = append(r.Failures, fmt.Sprintf("%s: %s is %v", r.Parts[i].Name, f.Name, f.Value))
				f.Value = 0
			}
			f.Value = round(f.Value)
		}
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(base+".json", append(data, '\n'), 0o644); err != nil {
		return "", err
	}
	return base + ".md", os.WriteFile(base+".md", []byte(r.table()), 0o644)
}

// table is the report in Markdown.
func (r *report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, %s\n\n", r.Device.Name, r.Date)
	if !r.Hardware {
		b.WriteString("**Not hardware: the interpreter of PTX. No time here says anything of a GPU.**\n\n")
	}
	fmt.Fprintf(&b, "Commit %s. %s, %d cores (%s), driver: %s. %d multiprocessors, compute capability %s, %.1f GB.\n\n",
		r.Commit, r.Machine.System, r.Machine.Cores, r.Machine.CPU, r.Machine.Driver, r.Device.SMs, r.Device.Compute, float64(r.Device.Memory)/1e9)
	if r.Device.PeakF16 > 0 {
		fmt.Fprintf(&b, "The data sheet's peaks: %.0f TFLOP/s (f16, dense), %.0f GB/s.\n\n", r.Device.PeakF16, r.Device.PeakGBps)
	}
	fmt.Fprintf(&b, "%d failures in %.0f seconds.\n", len(r.Failures), r.Seconds)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(strings.TrimSpace(f), "\n", "\n  "))
	}
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "\n## %s\n\n%s: `%s`, %.0f s.\n", p.Name, p.What, p.Command, p.Seconds)
		if p.Skipped != "" {
			fmt.Fprintf(&b, "\nLeft out: %s.\n", p.Skipped)
		}
		if len(p.Figures) == 0 {
			continue
		}
		b.WriteString("\n| figure | value | unit |\n| --- | --- | --- |\n")
		for _, f := range p.Figures {
			fmt.Fprintf(&b, "| %s | %.4g | %s |\n", f.Name, f.Value, f.Unit)
		}
	}
	return b.String()
}
