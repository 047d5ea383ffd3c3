package resize_test

import (
	"testing"

	"parley/engine/host"
	"parley/kernels/optest"
)

func TestResize(t *testing.T) {
	optest.HostWith(t, optest.Resize, host.Options{Workers: 1}, host.Options{Workers: 3})
}
