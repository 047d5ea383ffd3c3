//go:build !linux && amd64 && !noasm

package simd

func tilesAllowed() bool { return false }
