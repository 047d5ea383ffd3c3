//go:build cuda

package matmul_test

import (
	"parley/engine"
	"parley/kernels/matmul"
	"parley/kernels/storage"
	"testing"

	"parley/kernels/optest"
)

func TestLinearEmulated(t *testing.T) { optest.Emulated(t, optest.Linear) }

func TestDependent(t *testing.T) {
	optest.Dependent(t, image, func(s *engine.Stream) {
		x, few := s.Put(engine.FromF32(make([]float32, 70*64), 70, 64)), s.Put(engine.FromF32(make([]float32, 64), 1, 64))
		w, err := matmul.Pack(s.Device(), storage.Values(make([]float32, 128*64)), 128, 64)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			x = matmul.Linear(s, x, w, matmul.Epilogue{GEGLU: true})
			few = matmul.Linear(s, few, w, matmul.Epilogue{GEGLU: true})
		}
		square, err := matmul.Pack(s.Device(), storage.Values(make([]float32, 64*64)), 64, 64)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			x = matmul.Linear(s, x, square, matmul.Epilogue{})
		}
		for range 2 {
			few = matmul.Linear(s, few, square, matmul.Epilogue{})
		}
	})
}
