// Package machine says what a machine offers to the nets: its processor and what
// products cost on it, memory, and GPUs.
package machine

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/klauspost/cpuid/v2"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

// Report describes a machine.
type Report struct {
	CPU      string   `json:"cpu"`
	Cores    int      `json:"cores"`
	Threads  int      `json:"threads"`
	Features []string `json:"features"` // of the instruction set, as far as kernels use them
	Kernels  string   `json:"kernels"`  // the level of the CPU's kernels
	GFLOPs   float64  `json:"gflops"`   // float32 multiply-adds a second on all threads, measured, in 1e9 operations
	Methods  []Method `json:"methods"`
	Free     int      `json:"free_bytes"`
	Devices  []string `json:"devices"`
	GPU      string   `json:"gpu"` // what the driver says
}

// Method is what a matrix product is made of at a precision of the CPU's.
type Method struct {
	Precision string  `json:"precision"`
	Format    string  `json:"format"`
	Speed     float64 `json:"speed"` // beside float32's, measured in the cache
}

// Look describes this machine as a device of the CPU with threads (all cores if 0)
// sees it. It measures for some tenths of a second.
func Look(threads int) Report {
	cpu := host.NewWith(host.Options{Workers: threads})
	r := Report{
		CPU: cpuid.CPU.BrandName, Cores: runtime.GOMAXPROCS(0), Threads: cpu.Workers(), Kernels: simd.Active().String(),
		GFLOPs: matmul.Peak(cpu, 50*time.Millisecond) / 1e9, Free: engine.FreeMemory(cpu), Devices: []string{"cpu"},
	}
	for p := host.Exact; p <= host.Fast; p++ {
		d := host.NewWith(host.Options{Precision: p})
		f, speeds := matmul.Gemm(d).Format, matmul.Speeds(d)
		r.Methods = append(r.Methods, Method{p.String(), f.String(), speeds.Of(f) / speeds.Of(simd.F32)})
	}
	_, r.GPU = cuda.Driver()
	gpus, _ := cuda.Devices() // the driver's words say why there are none
	for _, g := range gpus {
		r.Devices = append(r.Devices, g.String())
	}
	for _, f := range []cpuid.FeatureID{cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512BF16,
		cpuid.AVX512VNNI, cpuid.AVX512FP16, cpuid.AMXBF16} {
		if cpuid.CPU.Supports(f) {
			r.Features = append(r.Features, f.String())
		}
	}
	return r
}

// Table writes the report as lines of a name and a value, then further such pairs.
func (r Report) Table(out io.Writer, more ...[2]string) error {
	var methods []string
	for _, m := range r.Methods {
		methods = append(methods, fmt.Sprintf("%s: %s (%.1fx)", m.Precision, m.Format, m.Speed))
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, line := range append([][2]string{
		{"CPU", fmt.Sprintf("%s, %d threads", r.CPU, r.Threads)},
		{"features", strings.Join(r.Features, " ")},
		{"kernels", fmt.Sprintf("%s, %.0f GFLOP/s of f32 multiply-adds at most", r.Kernels, r.GFLOPs)},
		{"precisions", strings.Join(methods, ", ")},
		{"memory", fmt.Sprintf("%.1f GB free", float64(r.Free)/1e9)},
		{"devices", strings.Join(r.Devices, ", ")},
		{"GPU", r.GPU},
	}, more...) {
		fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
	}
	return w.Flush()
}
