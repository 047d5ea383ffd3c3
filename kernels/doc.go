// Package kernels holds no code: each folder is an operation's, with what it computes
// and which shapes it takes (op.go), the CPU's loops (host.go), the launches (cuda.go)
// and the CUDA sources (op.cu) with the PTX that `make ptx` gives (op.ptx). simd has
// the CPU's inner loops, cuda what several op.cu share, optest the suites that every
// device has to pass.
//
// A room may have kernels for one architecture in op.sm_90a.cu and op.sm_90a.ptx
// beside op.cu, which serves sm_80 and everything later; the device's capability
// chooses. What op.cu itself has for sm_90 alone, the overlap of kernels
// (cuda/depend.cuh), changes no result. The CPU, op.cu and each such variant are kernel sets. One seed gives the
// same bits on every device of one kernel set: plans, split-K and reductions do not
// depend on the device at hand. Across sets results agree within the tolerance that
// the goldens of nets/ are held to, and sampled tokens come from the same Philox
// numbers.
package kernels
