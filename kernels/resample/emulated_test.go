//go:build cuda

package resample_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestResampleEmulated(t *testing.T) { optest.Emulated(t, optest.Resample) }

func TestPictureEmulated(t *testing.T) { optest.Emulated(t, optest.Picture) }
