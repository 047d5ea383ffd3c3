//go:build cuda

package matmul_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestLinearEmulated(t *testing.T) { optest.Emulated(t, optest.Linear) }
