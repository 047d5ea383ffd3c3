//go:build !linux

package safetensors

// Forget takes pages of a mapped file out of memory, where the system can be
// asked to.
func Forget([]byte) {}

func remember([]byte) {}

func forgetMapping([]byte) {}
