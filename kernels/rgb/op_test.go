package rgb_test

import (
	"testing"

	"parley/engine/host"
	"parley/kernels/optest"
)

func TestRGB(t *testing.T) {
	optest.HostWith(t, optest.RGB, host.Options{Workers: 1}, host.Options{Workers: 3})
}
