//go:build cuda

package attention_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestAttendEmulated(t *testing.T) { optest.Emulated(t, optest.Attend) }
