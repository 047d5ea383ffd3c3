package host

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of the larger pages of most machines.
const hugePage = 2 << 20

// Huge asks the system for large pages under what is going to be written to x, so
// that a first touch clears 512 small ones at once and reading them finds its way.
// It is a hint: x is the garbage collector's as before. The pages at its ends are
// asked for whole, which syscall.Madvise, with its slice, does not do.
func Huge(x []float32) {
	if 4*len(x) < hugePage {
		return
	}
	lo := uintptr(unsafe.Pointer(&x[0])) &^ (hugePage - 1)
	hi := (uintptr(unsafe.Pointer(&x[len(x)-1])) + hugePage) &^ (hugePage - 1)
	syscall.Syscall(syscall.SYS_MADVISE, lo, hi-lo, syscall.MADV_HUGEPAGE)
}
