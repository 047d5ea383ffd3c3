//go:build cuda

package pool_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestPoolEmulated(t *testing.T) { optest.Emulated(t, optest.Pool) }
