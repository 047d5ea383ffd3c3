//go:build !amd64

package host

import "runtime"

func pause() { runtime.Gosched() }
