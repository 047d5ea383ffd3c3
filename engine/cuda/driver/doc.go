// Package driver finds the NVIDIA driver when the process starts, and stands
// in its place when there is none. It is the only cgo of Parley: the driver's
// header in our words (include/cuda.h), a table of its functions with one
// trampoline for each (trampolines.c), what gorgonia.org/cu lacks, and an
// emulation of the driver over the interpreter of PTX (Emulate).
//
// All of it is built with -tags cuda, which needs a C compiler and
//
//	CGO_CFLAGS=-I<here>/include CGO_LDFLAGS=-L<here>/lib
//
// as the Makefile sets them: the header is for gorgonia.org/cu, and so is
// lib/libcuda.a, an empty archive that satisfies its -lcuda; the trampolines
// are linked from this package.
package driver
