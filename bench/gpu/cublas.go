//go:build cuda

package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

// What is used of cuBLAS, found when it is there: its ABI in our words.
typedef int (*create_t)(void **);
typedef int (*destroy_t)(void *);
typedef int (*gemm_t)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int,
                      const void *, void *, int, int, int, int);

static create_t create;
static destroy_t destroy;
static gemm_t gemm;

static int blas_open(const char *name)
{
	void *lib = dlopen(name, RTLD_NOW);
	if (!lib)
		return 0;
	create = (create_t)dlsym(lib, "cublasCreate_v2");
	destroy = (destroy_t)dlsym(lib, "cublasDestroy_v2");
	gemm = (gemm_t)dlsym(lib, "cublasGemmEx");
	return create && destroy && gemm;
}

static int blas_create(void **handle) { return create(handle); }
static int blas_destroy(void *handle) { return destroy(handle); }

// Row-major y[m, n] = x[m, k] w[n, k]^T is column-major y^T = w x^T. Of f16, with
// sums in f32 (CUDA_R_16F 2, CUBLAS_COMPUTE_32F 68, CUBLAS_OP_T 1, default algorithm -1).
static int blas_gemm(void *handle, uintptr_t y, uintptr_t x, uintptr_t w, int m, int n, int k)
{
	float one = 1, zero = 0;
	return gemm(handle, 1, 0, n, m, k, &one, (void *)w, 2, k, (void *)x, 2, k, &zero, (void *)y, 2, n, 68, -1);
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"parley/engine"
)

// cublas times cuBLAS at the shapes of kernels, where the library is installed.
// Products run on its own stream one behind another, many to a measurement by
// the host's clock.
func cublas(b *bench) error {
	if !b.hardware() {
		return skipped("the interpreter is no device of cuBLAS'")
	}
	found := ""
	for _, name := range []string{"libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so"} {
		c := C.CString(name)
		ok := C.blas_open(c) == 1
		C.free(unsafe.Pointer(c))
		if ok {
			found = name
			break
		}
	}
	if found == "" {
		return skipped("there is no libcublas")
	}
	if err := b.open(engine.F16); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dev, err := cu.GetDevice(b.dev.Info().Ordinal)
	if err != nil {
		return err
	}
	ctx, err := dev.RetainPrimaryCtx()
	if err != nil {
		return err
	}
	defer dev.ReleasePrimaryCtx()
	current := func() error { return cu.SetCurrentContext(ctx) }
	if err := current(); err != nil {
		return err
	}
	var handle unsafe.Pointer
	if st := C.blas_create(&handle); st != 0 {
		return fmt.Errorf("cublasCreate: status %d", int(st))
	}
	defer C.blas_destroy(handle)
	for _, p := range b.products() {
		s := engine.NewStream(b.ctx, b.dev)
		x, w, y := s.Put(random(2, 1, p.m, p.k)), s.Put(random(1, 0.05, p.n, p.k)), s.New(engine.F16, p.m, p.n)
		err := s.Err()
		if err == nil {
			err = b.dev.Synchronize()
		}
		if err == nil {
			err = current()
		}
		var times []float64
		reps := max(20, min(2000, int(2e12/p.flops())))
		for i := 0; i < b.rounds()+1 && err == nil; i++ {
			start := time.Now()
			for range reps {
				if st := C.blas_gemm(handle, C.uintptr_t(y.Memory().Addr), C.uintptr_t(x.Memory().Addr), C.uintptr_t(w.Memory().Addr), C.int(p.m), C.int(p.n), C.int(p.k)); st != 0 {
					err = fmt.Errorf("cublasGemmEx: status %d", int(st))
					break
				}
			}
			if e := cu.Synchronize(); err == nil {
				err = e
			}
			if i > 0 {
				times = append(times, time.Since(start).Seconds()/float64(reps))
			}
		}
		s.Close()
		if err != nil {
			b.fail("%s: %v", p.name(), err)
			continue
		}
		b.figure(p.name()+" by "+found, p.flops()/median(times)/1e12, "TFLOP/s")
	}
	return nil
}
