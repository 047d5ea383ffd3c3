package main

import (
	"fmt"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/spf13/cobra"

	"parley/engine"
	"parley/engine/cuda"
	"parley/engine/host"
	"parley/kernels/matmul"
	"parley/kernels/simd"
)

func (a *app) doctor() *cobra.Command {
	c := &cobra.Command{Use: "doctor", Short: "Say what this machine offers", Args: cobra.NoArgs,
		Example: "  parley doctor\n  parley doctor --json"}
	c.RunE = func(*cobra.Command, []string) error {
		type model struct {
			Name string `json:"name"`
			Note string `json:"note"`
		}
		// method is what products are made of at a precision of the CPU's.
		type method struct {
			Precision string  `json:"precision"`
			Format    string  `json:"format"`
			Speed     float64 `json:"speed"` // beside f32's, measured in the cache
		}
		cpu := host.NewWith(host.Options{Workers: a.threads})
		report := struct {
			CPU      string   `json:"cpu"`
			Cores    int      `json:"cores"`
			Threads  int      `json:"threads"`
			Features []string `json:"features"`
			Kernels  string   `json:"kernels"`
			GFLOPs   float64  `json:"gflops"` // f32 multiply-adds on all threads, measured
			Methods  []method `json:"methods"`
			Free     int      `json:"free_bytes"`
			Devices  []string `json:"devices"`
			GPU      string   `json:"gpu"`
			Models   []model  `json:"models"`
		}{CPU: cpuid.CPU.BrandName, Cores: runtime.GOMAXPROCS(0), Threads: cpu.Workers(), Kernels: simd.Active().String(),
			GFLOPs: matmul.Peak(cpu, 50*time.Millisecond) / 1e9, Free: engine.FreeMemory(cpu), Devices: []string{"cpu"}}
		var methods []string
		for p := host.Exact; p <= host.Fast; p++ {
			d := host.NewWith(host.Options{Precision: p})
			f, speeds := matmul.Gemm(d).Format, matmul.Speeds(d)
			m := method{p.String(), f.String(), speeds.Of(f) / speeds.Of(simd.F32)}
			report.Methods = append(report.Methods, m)
			methods = append(methods, fmt.Sprintf("%s: %s (%.1fx)", m.Precision, m.Format, m.Speed))
		}
		_, report.GPU = cuda.Driver()
		gpus, _ := cuda.Devices() // the driver's words say why there are none
		for _, g := range gpus {
			report.Devices = append(report.Devices, g.String())
		}
		for _, f := range []cpuid.FeatureID{cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512BF16,
			cpuid.AVX512VNNI, cpuid.AVX512FP16, cpuid.AMXBF16} {
			if cpuid.CPU.Supports(f) {
				report.Features = append(report.Features, f.String())
			}
		}
		for _, name := range []string{"blip", "sd", "clip"} {
			m := model{name, "embedded, miniature"}
			own := map[string]string{"blip": a.blip, "sd": a.sd, "clip": a.clip}[name]
			if src, err := a.source(name, own); err != nil {
				m.Note = err.Error()
			} else if !src.IsEmbedded() {
				m.Note = src.String()
			}
			report.Models = append(report.Models, m)
		}
		if a.json {
			return a.print(report)
		}
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		fmt.Fprintf(w, "CPU\t%s, %d threads\nfeatures\t%s\nkernels\t%s, %.0f GFLOP/s of f32 multiply-adds at "+
			"most\nprecisions\t%s\nmemory\t%.1f GB free\ndevices\t%s\nGPU\t%s\n",
			report.CPU, report.Threads, strings.Join(report.Features, " "), report.Kernels, report.GFLOPs, strings.Join(methods, ", "),
			float64(report.Free)/1e9, strings.Join(report.Devices, ", "), report.GPU)
		for _, m := range report.Models {
			fmt.Fprintf(w, "%s\t%s\n", m.Name, m.Note)
		}
		return w.Flush()
	}
	return c
}
