// Package chip has what is published of GPUs: counts, rates and sizes, once.
package chip

import "strings"

// Chip is a GPU. What is not known is 0.
type Chip struct {
	Name  string
	words string // all in the name that the driver gives
	SM    int    // architecture: 90 is sm_90
	SMs   int    // multiprocessors
	// PeakF16 is the data sheet's dense f16 with f32 sums, in TFLOP/s; DRAM its
	// GB/s of memory.
	PeakF16, DRAM float64
	L2            int // bytes of the second-level cache

	// What a model of a kernel's time needs beside (bench/roofline).
	Clock  float64 // GHz under load
	Shared int     // bytes of shared memory of a multiprocessor
	MMA    float64 // FLOPs of f16 mma.sync in a clock of a multiprocessor
	L2Rate float64 // GB/s from the second-level cache, of microbenchmarks
}

// Figures of an A100 that the interpreter of PTX answers with.
const (
	A100SMs    = 108
	A100Shared = 164 << 10
	A100L2     = 40 << 20
	A100MHz    = 1410
)

// All lists the chips, the more particular names first.
//
// An H100's tensor cores do 4096 FLOPs a clock by wgmma; mma.sync reaches 0.63 of it
// (Luo et al., arXiv 2402.13499, measured 62.9 %).
func All() []Chip {
	const hopper = 0.63 * 4096
	return []Chip{
		{"H100 SXM", "H100 HBM3", 90, 132, 989.4, 3352, 50e6, 1.70, 228 << 10, hopper, 5500},
		{"H100 NVL", "H100 NVL", 90, 132, 835.5, 3938, 50e6, 1.60, 228 << 10, hopper, 0},
		{"H100 PCIe", "H100 PCIe", 90, 114, 756.5, 2039, 50e6, 1.60, 228 << 10, hopper, 0},
		{"H200", "H200", 90, 132, 989.4, 4800, 60e6, 1.70, 228 << 10, hopper, 5500},
		{"A100 SXM 80 GB", "A100 80GB", 80, A100SMs, 311.9, 2039, A100L2, A100MHz / 1e3, A100Shared, 2048, 4000},
		{"A100 40 GB", "A100", 80, A100SMs, 311.9, 1555, A100L2, A100MHz / 1e3, A100Shared, 2048, 4000},
		{"L40S", "L40S", 89, 142, 362, 864, 96e6, 0, 100 << 10, 1024, 0},
		{"L4", "L4", 89, 58, 121, 300, 48e6, 0, 100 << 10, 1024, 0},
		{"RTX 4090", "RTX 4090", 89, 128, 165.2, 1008, 72e6, 0, 100 << 10, 512, 0},
		{"RTX 3090", "RTX 3090", 86, 82, 71, 936, 6e6, 0, 100 << 10, 512, 0},
	}
}

// Find is the chip that a driver's name means.
func Find(name string) (Chip, bool) {
next:
	for _, c := range All() {
		for _, w := range strings.Fields(c.words) {
			if !strings.Contains(name, w) {
				continue next
			}
		}
		return c, true
	}
	return Chip{}, false
}
