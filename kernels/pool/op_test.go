package pool_test

import (
	"testing"

	"parley/kernels/optest"
)

func TestPool(t *testing.T) { optest.Host(t, optest.Pool) }
