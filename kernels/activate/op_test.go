package activate_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestActivate(t *testing.T) { optest.Host(t, optest.Activate) }
