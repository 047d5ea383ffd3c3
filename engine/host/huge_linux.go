package host

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of the larger pages of most machines.
const hugePage = 2 << 20

// Huge asks the system for large pages under what is going to be written to b, so
// that a first touch clears 512 small ones at once and reading them finds its way.
// It is a hint: b is the garbage collector's as before.
func Huge(b []byte) {
	if len(b) < hugePage {
		return
	}
	const madvHugePage = 14
	lo := uintptr(unsafe.Pointer(&b[0])) &^ (hugePage - 1)
	hi := (uintptr(unsafe.Pointer(&b[len(b)-1])) + hugePage) &^ (hugePage - 1)
	syscall.Syscall(syscall.SYS_MADVISE, lo, hi-lo, madvHugePage)
}
