//go:build linux && amd64 && !noasm

package simd

import "syscall"

// tilesAllowed asks the system to save AMX's tiles, which it does for processes
// that asked.
func tilesAllowed() bool {
	const request, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
	_, _, errno := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, request, tileData, 0)
	return errno == 0
}
