//go:build cuda

package driver

/*
#include <stdlib.h>
#include <string.h>
#include "driver.h"
*/
import "C"

import (
	"bytes"
	"errors"
	"os"
	"unsafe"

	"parley/engine/cuda/chip"
	"parley/engine/cuda/ptx"
)

// The driver's functions over an interpreter. What each does is told by the
// driver's manual; here is only how.

const (
	ok        = C.CUDA_SUCCESS
	badValue  = C.CUDA_ERROR_INVALID_VALUE
	badHandle = C.CUDA_ERROR_INVALID_HANDLE
)

//export emuDriverGetVersion
func emuDriverGetVersion(v *C.int) C.CUresult { *v = Oldest; return ok }

//export emuGetErrorName
func emuGetErrorName(r C.CUresult, out **C.char) C.CUresult {
	*out = C.parley_error_name(r)
	if *out == nil {
		return badValue
	}
	return ok
}

//export emuGetErrorString
func emuGetErrorString(r C.CUresult, out **C.char) C.CUresult {
	*out = C.parley_emulated_words()
	return ok
}

// Devices.

func device(d C.CUdevice) *Emulation {
	table.RLock()
	defer table.RUnlock()
	if d < 0 || int(d) >= len(emulations) {
		return nil
	}
	return emulations[d]
}

//export emuDeviceGetCount
func emuDeviceGetCount(n *C.int) C.CUresult {
	table.RLock()
	defer table.RUnlock()
	*n = C.int(len(emulations))
	return ok
}

//export emuDeviceGet
func emuDeviceGet(d *C.CUdevice, ordinal C.int) C.CUresult {
	if device(C.CUdevice(ordinal)) == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	*d = C.CUdevice(ordinal)
	return ok
}

//export emuDeviceGetName
func emuDeviceGetName(name *C.char, n C.int, d C.CUdevice) C.CUresult {
	if device(d) == nil || n < 1 {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	dst := unsafe.Slice((*byte)(unsafe.Pointer(name)), int(n))
	dst[copy(dst[:n-1], "PTX interpreter (sm_80)")] = 0
	return ok
}

//export emuDeviceGetUuid
func emuDeviceGetUuid(u *C.CUuuid, d C.CUdevice) C.CUresult {
	if device(d) == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	*u = C.CUuuid{}
	u.bytes[15] = C.char(d)
	return ok
}

//export emuDeviceTotalMem
func emuDeviceTotalMem(n *C.size_t, d C.CUdevice) C.CUresult {
	e := device(d)
	if e == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	_, total := e.m.Info()
	*n = C.size_t(total)
	return ok
}

// attributes are an A100's, where they are not the interpreter's own; what is
// not here is 0.
var attributes = map[C.CUdevice_attribute]C.int{
	C.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:                1024,
	C.CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:                      1024,
	C.CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:                      1024,
	C.CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:                      64,
	C.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:                       1<<31 - 1,
	C.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:                       65535,
	C.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:                       65535,
	C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:          ptx.MaxSharedDefault,
	C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:    ptx.MaxShared,
	C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: chip.A100Shared,
	C.CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:     1 << 10,
	C.CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:                64 << 10,
	C.CU_DEVICE_ATTRIBUTE_WARP_SIZE:                            32,
	C.CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:              65536,
	C.CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:     65536,
	C.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:       2048,
	C.CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:        32,
	C.CU_DEVICE_ATTRIBUTE_CLOCK_RATE:                           chip.A100MHz * 1000,
	C.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:                    1215000,
	C.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:              5120,
	C.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:                        chip.A100L2,
	C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:             8,
	C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:             0,
	C.CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:                   1,
	C.CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:                   1,
	C.CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:                   1,
	C.CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:                   3,
	C.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:               1,
	C.CU_DEVICE_ATTRIBUTE_ECC_ENABLED:                          1,
}

//export emuDeviceGetAttribute
func emuDeviceGetAttribute(v *C.int, a C.CUdevice_attribute, d C.CUdevice) C.CUresult {
	e := device(d)
	if e == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	*v = attributes[a]
	if a == C.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT {
		*v = C.int(e.m.SMs())
	}
	return ok
}

// Contexts.

func newContext(e *Emulation, flags C.uint) *context {
	ctx := &context{e: e, flags: flags, allocs: map[C.CUdeviceptr]C.size_t{}, modules: map[*module]bool{}}
	ctx.handle = newHandle(ctx)
	return ctx
}

//export emuDevicePrimaryCtxRetain
func emuDevicePrimaryCtxRetain(out *C.CUcontext, d C.CUdevice) C.CUresult {
	e := device(d)
	if e == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.state(); r != ok {
		return r
	}
	if e.primary == nil {
		e.primary = newContext(e, 0)
		e.primary.primary = true
	}
	e.retained++
	*out = C.CUcontext(e.primary.handle)
	return ok
}

//export emuDevicePrimaryCtxRelease
func emuDevicePrimaryCtxRelease(d C.CUdevice) C.CUresult {
	e := device(d)
	if e == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.retained == 0 {
		return C.CUDA_ERROR_INVALID_CONTEXT
	}
	if e.retained--; e.retained == 0 {
		e.primary.destroy()
		drop(e.primary.handle)
		e.primary = nil
	}
	return ok
}

//export emuDevicePrimaryCtxReset
func emuDevicePrimaryCtxReset(d C.CUdevice) C.CUresult {
	e := device(d)
	if e == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost {
		return C.CUDA_ERROR_DEVICE_UNAVAILABLE
	}
	if e.primary != nil {
		e.primary.destroy()
	}
	return ok
}

//export emuDevicePrimaryCtxGetState
func emuDevicePrimaryCtxGetState(d C.CUdevice, flags *C.uint, active *C.int) C.CUresult {
	e := device(d)
	if e == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	*flags, *active = 0, 0
	if e.primary != nil {
		*flags, *active = e.primary.flags, 1
	}
	return ok
}

//export emuDevicePrimaryCtxSetFlags
func emuDevicePrimaryCtxSetFlags(d C.CUdevice, flags C.uint) C.CUresult {
	if device(d) == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	return ok
}

//export emuCtxCreate
func emuCtxCreate(out *C.CUcontext, flags C.uint, d C.CUdevice) C.CUresult {
	e := device(d)
	if e == nil {
		return C.CUDA_ERROR_INVALID_DEVICE
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost {
		return C.CUDA_ERROR_DEVICE_UNAVAILABLE
	}
	ctx := newContext(e, flags)
	if C.parley_push_current(ctx.handle) == 0 {
		drop(ctx.handle)
		return C.CUDA_ERROR_INVALID_CONTEXT
	}
	*out = C.CUcontext(ctx.handle)
	return ok
}

//export emuCtxDestroy
func emuCtxDestroy(h C.CUcontext) C.CUresult {
	ctx, found := resolve[*context](unsafe.Pointer(h))
	if !found || ctx.primary {
		return C.CUDA_ERROR_INVALID_CONTEXT
	}
	ctx.e.mu.Lock()
	defer ctx.e.mu.Unlock()
	ctx.destroy()
	if C.parley_current() == ctx.handle {
		C.parley_pop_current()
	}
	drop(ctx.handle)
	return ok
}

//export emuCtxPushCurrent
func emuCtxPushCurrent(h C.CUcontext) C.CUresult {
	if _, found := resolve[*context](unsafe.Pointer(h)); !found || C.parley_push_current(unsafe.Pointer(h)) == 0 {
		return C.CUDA_ERROR_INVALID_CONTEXT
	}
	return ok
}

//export emuCtxPopCurrent
func emuCtxPopCurrent(out *C.CUcontext) C.CUresult {
	h := C.parley_pop_current()
	if h == nil {
		return C.CUDA_ERROR_INVALID_CONTEXT
	}
	if out != nil {
		*out = C.CUcontext(h)
	}
	return ok
}

//export emuCtxSetCurrent
func emuCtxSetCurrent(h C.CUcontext) C.CUresult {
	if h != nil {
		if _, found := resolve[*context](unsafe.Pointer(h)); !found {
			return C.CUDA_ERROR_INVALID_CONTEXT
		}
	}
	C.parley_set_current(unsafe.Pointer(h))
	return ok
}

//export emuCtxGetCurrent
func emuCtxGetCurrent(out *C.CUcontext) C.CUresult {
	*out = C.CUcontext(C.parley_current())
	return ok
}

//export emuCtxGetDevice
func emuCtxGetDevice(d *C.CUdevice) C.CUresult {
	return with(func(ctx *context) C.CUresult { *d = C.CUdevice(ctx.e.ordinal); return ok })
}

//export emuCtxGetFlags
func emuCtxGetFlags(flags *C.uint) C.CUresult {
	return with(func(ctx *context) C.CUresult { *flags = ctx.flags; return ok })
}

//export emuCtxGetApiVersion
func emuCtxGetApiVersion(h C.CUcontext, v *C.uint) C.CUresult {
	*v = 3020
	return ok
}

//export emuCtxSynchronize
func emuCtxSynchronize() C.CUresult {
	return withUnsafe(func(ctx *context) C.CUresult {
		ctx.main.Wait()
		table.RLock()
		defer table.RUnlock()
		for _, v := range handles {
			if q, isQueue := v.(*queue); isQueue && q.ctx == ctx {
				q.series.Wait()
			}
		}
		return ok
	})
}

//export emuCtxGetStreamPriorityRange
func emuCtxGetStreamPriorityRange(least, greatest *C.int) C.CUresult {
	*least, *greatest = 0, 0
	return ok
}

// Modules and functions.

//export emuModuleLoad
func emuModuleLoad(out *C.CUmodule, path *C.char) C.CUresult {
	b, err := os.ReadFile(C.GoString(path))
	if err != nil {
		return C.CUDA_ERROR_FILE_NOT_FOUND
	}
	return loadModule(out, b)
}

//export emuModuleLoadData
func emuModuleLoadData(out *C.CUmodule, image unsafe.Pointer) C.CUresult {
	return loadModule(out, C.GoBytes(image, C.int(C.strlen((*C.char)(image)))))
}

//export emuModuleLoadDataEx
func emuModuleLoadDataEx(out *C.CUmodule, image unsafe.Pointer, n C.uint, options *C.CUjit_option, values *unsafe.Pointer) C.CUresult {
	r := emuModuleLoadData(out, image)
	if r == ok || n == 0 {
		return r
	}
	// The compiler's messages go to the caller's buffer.
	var buf unsafe.Pointer
	var size int
	vals := unsafe.Slice((*uintptr)(unsafe.Pointer(values)), int(n))
	ptrs := unsafe.Slice(values, int(n))
	for i, o := range unsafe.Slice(options, int(n)) {
		switch o {
		case C.CU_JIT_ERROR_LOG_BUFFER:
			buf = ptrs[i]
		case C.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
			size = int(vals[i])
		}
	}
	if buf == nil || size <= 0 {
		return r
	}
	with(func(ctx *context) C.CUresult {
		if ctx.e.fault != nil {
			dst := unsafe.Slice((*byte)(buf), size)
			dst[copy(dst[:size-1], ctx.e.fault.Error())] = 0
		}
		return ok
	})
	return r
}

func loadModule(out *C.CUmodule, b []byte) C.CUresult {
	return withUnsafe(func(ctx *context) C.CUresult {
		if bytes.HasPrefix(b, []byte("\x7fELF")) { // machine code
			return C.CUDA_ERROR_NO_BINARY_FOR_GPU
		}
		mod, err := ctx.e.m.Load(b)
		if err != nil {
			if errors.Is(err, ptx.ErrOutOfMemory) {
				return C.CUDA_ERROR_OUT_OF_MEMORY
			}
			ctx.e.memory(err)
			return C.CUDA_ERROR_INVALID_PTX
		}
		m := &module{ctx: ctx, mod: mod, funcs: map[string]*kernel{}}
		m.handle = newHandle(m)
		ctx.modules[m] = true
		*out = C.CUmodule(m.handle)
		return ok
	})
}

//export emuModuleUnload
func emuModuleUnload(h C.CUmodule) C.CUresult {
	return withUnsafe(func(ctx *context) C.CUresult {
		m, found := resolve[*module](unsafe.Pointer(h))
		if !found || m.ctx != ctx {
			return badHandle
		}
		m.unload()
		return ok
	})
}

//export emuModuleGetFunction
func emuModuleGetFunction(out *C.CUfunction, h C.CUmodule, name *C.char) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		m, found := resolve[*module](unsafe.Pointer(h))
		if !found {
			return badHandle
		}
		s := C.GoString(name)
		k := m.funcs[s]
		if k == nil {
			f, found := m.mod.Function(s)
			if !found {
				return C.CUDA_ERROR_NOT_FOUND
			}
			k = &kernel{ctx: ctx, f: f, params: f.Params()}
			k.handle = newHandle(k)
			m.funcs[s] = k
		}
		*out = C.CUfunction(k.handle)
		return ok
	})
}

//export emuModuleGetGlobal
func emuModuleGetGlobal(out *C.CUdeviceptr, size *C.size_t, h C.CUmodule, name *C.char) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		m, found := resolve[*module](unsafe.Pointer(h))
		if !found {
			return badHandle
		}
		addr, n, found := m.mod.Global(C.GoString(name))
		if !found {
			return C.CUDA_ERROR_NOT_FOUND
		}
		if out != nil {
			*out = C.CUdeviceptr(addr)
		}
		if size != nil {
			*size = C.size_t(n)
		}
		return ok
	})
}

//export emuFuncGetAttribute
func emuFuncGetAttribute(v *C.int, a C.CUfunction_attribute, h C.CUfunction) C.CUresult {
	return with(func(*context) C.CUresult {
		k, found := resolve[*kernel](unsafe.Pointer(h))
		if !found {
			return badHandle
		}
		switch a {
		case C.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
			*v = C.int(k.f.MaxThreads())
		case C.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
			*v = C.int(k.f.StaticShared())
		case C.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
			*v = C.int(k.f.Local())
		case C.CU_FUNC_ATTRIBUTE_PTX_VERSION, C.CU_FUNC_ATTRIBUTE_BINARY_VERSION:
			*v = 80
		case C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
			*v = C.int(k.f.MaxDynamicShared())
		case C.CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES, C.CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
			*v = 0
		default: // registers are ptxas' to say
			return C.CUDA_ERROR_NOT_SUPPORTED
		}
		return ok
	})
}

//export emuFuncSetAttribute
func emuFuncSetAttribute(h C.CUfunction, a C.CUfunction_attribute, v C.int) C.CUresult {
	return with(func(*context) C.CUresult {
		k, found := resolve[*kernel](unsafe.Pointer(h))
		if !found {
			return badHandle
		}
		switch a {
		case C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
			if k.f.SetMaxDynamicShared(int(v)) != nil {
				return badValue
			}
			return ok
		case C.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
			return ok
		}
		return badValue
	})
}

//export emuFuncGetParamInfo
func emuFuncGetParamInfo(h C.CUfunction, i C.size_t, offset, size *C.size_t) C.CUresult {
	return with(func(*context) C.CUresult {
		k, found := resolve[*kernel](unsafe.Pointer(h))
		if !found {
			return badHandle
		}
		if int(i) >= len(k.params) {
			return badValue
		}
		*offset = C.size_t(k.params[i].Offset)
		if size != nil {
			*size = C.size_t(k.params[i].Size)
		}
		return ok
	})
}

//export emuFuncSetCacheConfig
func emuFuncSetCacheConfig(h C.CUfunction, c C.CUfunc_cache) C.CUresult { return ok }

//export emuOccupancyMaxActiveBlocksPerMultiprocessor
func emuOccupancyMaxActiveBlocksPerMultiprocessor(n *C.int, h C.CUfunction, block C.int, dynamic C.size_t) C.CUresult {
	return with(func(*context) C.CUresult {
		k, found := resolve[*kernel](unsafe.Pointer(h))
		if !found {
			return badHandle
		}
		if block < 1 {
			return badValue
		}
		*n = 0
		if int(block) > k.f.MaxThreads() || int(dynamic) > k.f.MaxDynamicShared() {
			return ok
		}
		*n = C.int(k.f.Resident(int(block), int(dynamic)))
		return ok
	})
}

//export emuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags
func emuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
	n *C.int, h C.CUfunction, block C.int, dynamic C.size_t, flags C.uint,
) C.CUresult {
	return emuOccupancyMaxActiveBlocksPerMultiprocessor(n, h, block, dynamic)
}

//export emuLaunchKernel
func emuLaunchKernel(h C.CUfunction, gx, gy, gz, bx, by, bz, shared C.uint, s C.CUstream, params, extra *unsafe.Pointer) C.CUresult {
	c := C.CUlaunchConfig{
		gridDimX: gx, gridDimY: gy, gridDimZ: gz, blockDimX: bx, blockDimY: by, blockDimZ: bz,
		sharedMemBytes: shared, hStream: s,
	}
	return launchKernel(h, &c, params, extra, false, false)
}

//export emuLaunchKernelEx
func emuLaunchKernelEx(c *C.CUlaunchConfig, h C.CUfunction, params, extra *unsafe.Pointer) C.CUresult {
	var cooperative, dependent bool
	for _, a := range unsafe.Slice(c.attrs, int(c.numAttrs)) {
		on := *(*C.int)(unsafe.Pointer(&a.value)) != 0
		switch a.id {
		case C.CU_LAUNCH_ATTRIBUTE_IGNORE:
		case C.CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
			cooperative = on
		case C.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
			dependent = on
		default:
			return C.CUDA_ERROR_NOT_SUPPORTED
		}
	}
	return launchKernel(h, c, params, extra, cooperative, dependent)
}

func launchKernel(h C.CUfunction, c *C.CUlaunchConfig, params, extra *unsafe.Pointer, cooperative, dependent bool) C.CUresult {
	k, found := resolve[*kernel](unsafe.Pointer(h))
	if !found {
		return badHandle
	}
	gx, gy, gz, bx, by, bz, shared := c.gridDimX, c.gridDimY, c.gridDimZ, c.blockDimX, c.blockDimY, c.blockDimZ, c.sharedMemBytes
	if gx == 0 || gy == 0 || gz == 0 || bx == 0 || by == 0 || bz == 0 ||
		gx > ptx.MaxGridX || gy > ptx.MaxGridYZ || gz > ptx.MaxGridYZ || bx > 1024 || by > 1024 || bz > 64 ||
		uint64(bx)*uint64(by)*uint64(bz) > ptx.MaxThreads || int(shared) > k.f.MaxDynamicShared() {
		return badValue
	}
	if int(bx*by*bz) > k.f.MaxThreads() {
		return C.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
	}
	if cooperative && uint64(gx)*uint64(gy)*uint64(gz) > uint64(k.f.AtOnce(int(bx*by*bz), int(shared))) {
		return C.CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE
	}
	l := ptx.Launch{
		Grid:        [3]uint32{uint32(gx), uint32(gy), uint32(gz)},
		Block:       [3]uint32{uint32(bx), uint32(by), uint32(bz)},
		Shared:      uint32(shared),
		Params:      make([]byte, k.f.ParamBytes()),
		Cooperative: cooperative,
		Dependent:   dependent,
	}
	switch {
	case params != nil:
		ptrs := unsafe.Slice(params, len(k.params))
		for i, p := range k.params {
			copy(l.Params[p.Offset:][:p.Size], unsafe.Slice((*byte)(ptrs[i]), p.Size))
		}
	case extra != nil:
		b, r := packed(extra)
		if r != ok || len(b) != len(l.Params) {
			return badValue
		}
		copy(l.Params, b)
	case len(k.params) > 0:
		return badValue
	}
	return inStream(c.hStream, func(ctx *context) C.CUresult {
		if k.ctx != ctx {
			return badHandle
		}
		e := ctx.e
		l := l // of this launch of a graph
		l.Series = ctx.series
		if dependent {
			e.dependents++
		}
		if e.launches++; e.launches == e.badStart {
			return e.failed(errors.New(k.f.Name()+": this launch was told to fail"), C.CUDA_ERROR_LAUNCH_FAILED)
		}
		err := e.m.Launch(k.f, l)
		if f := (*ptx.Fault)(nil); errors.As(err, &f) {
			return e.failed(err, faultCode(f))
		}
		return e.memory(err) // not the kernel's fault: the launch makes no sense
	})
}

// packed reads a launch's extra: pairs of a key and a value, up to the end key.
func packed(extra *unsafe.Pointer) ([]byte, C.CUresult) {
	var buf unsafe.Pointer
	var size C.size_t
	for i := 0; ; i += 2 {
		// The keys are small numbers, which are no pointers to Go.
		at := unsafe.Add(unsafe.Pointer(extra), i*int(unsafe.Sizeof(buf)))
		value := (*unsafe.Pointer)(unsafe.Add(at, unsafe.Sizeof(buf)))
		switch *(*uintptr)(at) {
		case 0:
			if buf == nil {
				return nil, badValue
			}
			return unsafe.Slice((*byte)(buf), int(size)), ok
		case 1:
			buf = *value
		case 2:
			size = *(*C.size_t)(*value)
		default:
			return nil, badValue
		}
	}
}

// Memory.

func (ctx *context) alloc(out *C.CUdeviceptr, n C.size_t) C.CUresult {
	if n == 0 {
		return badValue
	}
	e := ctx.e
	if e.allocs++; e.allocs == e.badAlloc {
		return C.CUDA_ERROR_OUT_OF_MEMORY
	}
	addr, err := e.m.Alloc(uint64(n))
	if err != nil {
		return C.CUDA_ERROR_OUT_OF_MEMORY
	}
	ctx.allocs[C.CUdeviceptr(addr)] = n
	*out = C.CUdeviceptr(addr)
	return ok
}

func (ctx *context) free(p C.CUdeviceptr) C.CUresult {
	if p == 0 {
		return ok
	}
	if _, found := ctx.allocs[p]; !found {
		return badValue
	}
	delete(ctx.allocs, p)
	return ctx.e.memory(ctx.e.m.Free(uint64(p)))
}

//export emuMemAlloc
func emuMemAlloc(out *C.CUdeviceptr, n C.size_t) C.CUresult {
	return withUnsafe(func(ctx *context) C.CUresult { return ctx.alloc(out, n) })
}

//export emuMemAllocPitch
func emuMemAllocPitch(out *C.CUdeviceptr, pitch *C.size_t, width, height C.size_t, element C.uint) C.CUresult {
	*pitch = (width + 511) &^ 511
	return emuMemAlloc(out, *pitch*height)
}

//export emuMemFree
func emuMemFree(p C.CUdeviceptr) C.CUresult {
	return withUnsafe(func(ctx *context) C.CUresult { return ctx.free(p) })
}

// capturing says whether a stream is recorded to a graph.
func capturing(s C.CUstream) bool {
	q, found := resolve[*queue](unsafe.Pointer(s))
	return found && q.graph != nil
}

//export emuMemAllocAsync
func emuMemAllocAsync(out *C.CUdeviceptr, n C.size_t, s C.CUstream) C.CUresult {
	if capturing(s) { // would be a node that owns memory
		return C.CUDA_ERROR_NOT_SUPPORTED
	}
	return inStream(s, func(ctx *context) C.CUresult { return ctx.alloc(out, n) })
}

//export emuMemFreeAsync
func emuMemFreeAsync(p C.CUdeviceptr, s C.CUstream) C.CUresult {
	if capturing(s) {
		return C.CUDA_ERROR_NOT_SUPPORTED
	}
	return inStream(s, func(ctx *context) C.CUresult { return ctx.free(p) })
}

//export emuMemHostAlloc
func emuMemHostAlloc(out *unsafe.Pointer, n C.size_t, flags C.uint) C.CUresult {
	return withUnsafe(func(ctx *context) C.CUresult {
		if n == 0 {
			return badValue
		}
		p := C.aligned_alloc(4096, (n+4095)&^4095)
		if p == nil {
			return C.CUDA_ERROR_OUT_OF_MEMORY
		}
		setHandle(p, &pinned{ctx})
		*out = p
		return ok
	})
}

//export emuMemAllocHost
func emuMemAllocHost(out *unsafe.Pointer, n C.size_t) C.CUresult { return emuMemHostAlloc(out, n, 0) }

//export emuMemFreeHost
func emuMemFreeHost(p unsafe.Pointer) C.CUresult {
	return withUnsafe(func(ctx *context) C.CUresult {
		if _, found := resolve[*pinned](p); !found {
			return badValue
		}
		drop(p)
		return ok
	})
}

//export emuMemGetInfo
func emuMemGetInfo(free, total *C.size_t) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		f, t := ctx.e.m.Info()
		*free, *total = C.size_t(f), C.size_t(t)
		return ok
	})
}

//export emuMemGetAddressRange
func emuMemGetAddressRange(base *C.CUdeviceptr, size *C.size_t, p C.CUdeviceptr) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		for a, n := range ctx.allocs {
			if p >= a && uint64(p) < uint64(a)+uint64(n) {
				if base != nil {
					*base = a
				}
				if size != nil {
					*size = n
				}
				return ok
			}
		}
		return C.CUDA_ERROR_NOT_FOUND
	})
}

// Copies. Host memory is read and written when the copy runs, which in a graph
// is at each launch of it.

func host(p unsafe.Pointer, n C.size_t) []byte { return unsafe.Slice((*byte)(p), int(n)) }

func toDevice(dst C.CUdeviceptr, src unsafe.Pointer, n C.size_t) func(*context) C.CUresult {
	return func(ctx *context) C.CUresult {
		if n == 0 {
			return ok
		}
		return ctx.e.memory(ctx.e.m.Write(uint64(dst), host(src, n)))
	}
}

func toHost(dst unsafe.Pointer, src C.CUdeviceptr, n C.size_t) func(*context) C.CUresult {
	return func(ctx *context) C.CUresult {
		if n == 0 {
			return ok
		}
		return ctx.e.memory(ctx.e.m.Read(host(dst, n), uint64(src)))
	}
}

func onDevice(dst, src C.CUdeviceptr, n C.size_t) func(*context) C.CUresult {
	return func(ctx *context) C.CUresult {
		if n == 0 {
			return ok
		}
		return ctx.e.memory(ctx.e.m.Copy(uint64(dst), uint64(src), uint64(n)))
	}
}

//export emuMemcpyHtoD
func emuMemcpyHtoD(dst C.CUdeviceptr, src unsafe.Pointer, n C.size_t) C.CUresult {
	return withUnsafe(toDevice(dst, src, n))
}

//export emuMemcpyHtoDAsync
func emuMemcpyHtoDAsync(dst C.CUdeviceptr, src unsafe.Pointer, n C.size_t, s C.CUstream) C.CUresult {
	return inStream(s, behind(toDevice(dst, src, n)))
}

//export emuMemcpyDtoH
func emuMemcpyDtoH(dst unsafe.Pointer, src C.CUdeviceptr, n C.size_t) C.CUresult {
	return withUnsafe(toHost(dst, src, n))
}

//export emuMemcpyDtoHAsync
func emuMemcpyDtoHAsync(dst unsafe.Pointer, src C.CUdeviceptr, n C.size_t, s C.CUstream) C.CUresult {
	return inStream(s, behind(toHost(dst, src, n)))
}

//export emuMemcpyDtoD
func emuMemcpyDtoD(dst, src C.CUdeviceptr, n C.size_t) C.CUresult {
	return withUnsafe(onDevice(dst, src, n))
}

//export emuMemcpyDtoDAsync
func emuMemcpyDtoDAsync(dst, src C.CUdeviceptr, n C.size_t, s C.CUstream) C.CUresult {
	return inStream(s, behind(onDevice(dst, src, n)))
}

// emuMemcpy knows device addresses only: the interpreter's are no addresses of
// the host, as the driver's unified ones are.
//
//export emuMemcpy
func emuMemcpy(dst, src C.CUdeviceptr, n C.size_t) C.CUresult {
	return withUnsafe(onDevice(dst, src, n))
}

//export emuMemcpyAsync
func emuMemcpyAsync(dst, src C.CUdeviceptr, n C.size_t, s C.CUstream) C.CUresult {
	return inStream(s, behind(onDevice(dst, src, n)))
}

func fill8(p C.CUdeviceptr, v C.uchar, n C.size_t) func(*context) C.CUresult {
	return func(ctx *context) C.CUresult {
		return ctx.e.memory(ctx.e.m.Fill8(uint64(p), uint8(v), uint64(n)))
	}
}

func fill16(p C.CUdeviceptr, v C.ushort, n C.size_t) func(*context) C.CUresult {
	return func(ctx *context) C.CUresult {
		return ctx.e.memory(ctx.e.m.Fill16(uint64(p), uint16(v), uint64(n)))
	}
}

func fill32(p C.CUdeviceptr, v C.uint, n C.size_t) func(*context) C.CUresult {
	return func(ctx *context) C.CUresult {
		return ctx.e.memory(ctx.e.m.Fill32(uint64(p), uint32(v), uint64(n)))
	}
}

//export emuMemsetD8
func emuMemsetD8(p C.CUdeviceptr, v C.uchar, n C.size_t) C.CUresult {
	return withUnsafe(fill8(p, v, n))
}

//export emuMemsetD8Async
func emuMemsetD8Async(p C.CUdeviceptr, v C.uchar, n C.size_t, s C.CUstream) C.CUresult {
	return inStream(s, behind(fill8(p, v, n)))
}

//export emuMemsetD16
func emuMemsetD16(p C.CUdeviceptr, v C.ushort, n C.size_t) C.CUresult {
	return withUnsafe(fill16(p, v, n))
}

//export emuMemsetD16Async
func emuMemsetD16Async(p C.CUdeviceptr, v C.ushort, n C.size_t, s C.CUstream) C.CUresult {
	return inStream(s, behind(fill16(p, v, n)))
}

//export emuMemsetD32
func emuMemsetD32(p C.CUdeviceptr, v C.uint, n C.size_t) C.CUresult {
	return withUnsafe(fill32(p, v, n))
}

//export emuMemsetD32Async
func emuMemsetD32Async(p C.CUdeviceptr, v C.uint, n C.size_t, s C.CUstream) C.CUresult {
	return inStream(s, behind(fill32(p, v, n)))
}

// Streams.

//export emuStreamCreate
func emuStreamCreate(out *C.CUstream, flags C.uint) C.CUresult {
	return emuStreamCreateWithPriority(out, flags, 0)
}

//export emuStreamCreateWithPriority
func emuStreamCreateWithPriority(out *C.CUstream, flags C.uint, priority C.int) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		*out = C.CUstream(newHandle(&queue{ctx: ctx, flags: flags, priority: priority}))
		return ok
	})
}

// onQueue is a call about a stream other than the default one.
func onQueue(s C.CUstream, f func(*queue) C.CUresult) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		q, found := resolve[*queue](unsafe.Pointer(s))
		if !found || q.ctx != ctx {
			return badHandle
		}
		return f(q)
	})
}

//export emuStreamDestroy
func emuStreamDestroy(s C.CUstream) C.CUresult {
	return onQueue(s, func(q *queue) C.CUresult {
		if q.graph != nil && q.mode != C.CU_STREAM_CAPTURE_MODE_RELAXED {
			q.ctx.capture--
		}
		drop(unsafe.Pointer(s))
		return ok
	})
}

// wait is a call that waits for a stream, which a capture cannot record.
func wait(s C.CUstream) C.CUresult {
	if s == nil {
		return emuCtxSynchronize()
	}
	return onQueue(s, func(q *queue) C.CUresult {
		if q.graph != nil {
			q.graph.broken = true
			return C.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
		}
		q.series.Wait()
		return ok
	})
}

//export emuStreamSynchronize
func emuStreamSynchronize(s C.CUstream) C.CUresult { return wait(s) }

//export emuStreamQuery
func emuStreamQuery(s C.CUstream) C.CUresult { return wait(s) }

//export emuStreamWaitEvent
func emuStreamWaitEvent(s C.CUstream, ev C.CUevent, flags C.uint) C.CUresult {
	if _, found := resolve[*event](unsafe.Pointer(ev)); !found {
		return badHandle
	}
	return inStream(s, func(*context) C.CUresult { return ok })
}

//export emuStreamGetFlags
func emuStreamGetFlags(s C.CUstream, flags *C.uint) C.CUresult {
	return onQueue(s, func(q *queue) C.CUresult { *flags = q.flags; return ok })
}

//export emuStreamGetPriority
func emuStreamGetPriority(s C.CUstream, priority *C.int) C.CUresult {
	return onQueue(s, func(q *queue) C.CUresult { *priority = q.priority; return ok })
}

// Captures and graphs.

//export emuStreamBeginCapture
func emuStreamBeginCapture(s C.CUstream, mode C.CUstreamCaptureMode) C.CUresult {
	if s == nil {
		return C.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
	}
	return onQueue(s, func(q *queue) C.CUresult {
		if q.graph != nil {
			return C.CUDA_ERROR_ILLEGAL_STATE
		}
		q.graph, q.mode = &graph{}, mode
		if mode != C.CU_STREAM_CAPTURE_MODE_RELAXED {
			q.ctx.capture++
		}
		return ok
	})
}

//export emuStreamEndCapture
func emuStreamEndCapture(s C.CUstream, out *C.CUgraph) C.CUresult {
	return onQueue(s, func(q *queue) C.CUresult {
		g := q.graph
		if g == nil {
			return C.CUDA_ERROR_ILLEGAL_STATE
		}
		q.graph, *out = nil, nil
		if q.mode != C.CU_STREAM_CAPTURE_MODE_RELAXED {
			q.ctx.capture--
		}
		if g.broken {
			return C.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
		}
		*out = C.CUgraph(newHandle(g))
		return ok
	})
}

//export emuStreamIsCapturing
func emuStreamIsCapturing(s C.CUstream, status *C.CUstreamCaptureStatus) C.CUresult {
	return onQueue(s, func(q *queue) C.CUresult {
		switch {
		case q.graph == nil:
			*status = C.CU_STREAM_CAPTURE_STATUS_NONE
		case q.graph.broken:
			*status = C.CU_STREAM_CAPTURE_STATUS_INVALIDATED
		default:
			*status = C.CU_STREAM_CAPTURE_STATUS_ACTIVE
		}
		return ok
	})
}

//export emuGraphInstantiateWithFlags
func emuGraphInstantiateWithFlags(out *C.CUgraphExec, h C.CUgraph, flags C.ulonglong) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		g, found := resolve[*graph](unsafe.Pointer(h))
		if !found {
			return badHandle
		}
		*out = C.CUgraphExec(newHandle(&executable{ctx, g.nodes}))
		return ok
	})
}

//export emuGraphUpload
func emuGraphUpload(h C.CUgraphExec, s C.CUstream) C.CUresult { return ok }

//export emuGraphLaunch
func emuGraphLaunch(h C.CUgraphExec, s C.CUstream) C.CUresult {
	x, found := resolve[*executable](unsafe.Pointer(h))
	if !found {
		return badHandle
	}
	return inStream(s, func(ctx *context) C.CUresult {
		if x.ctx != ctx {
			return badHandle
		}
		// A graph starts when all before it has ended, and all behind it when the
		// graph has; within it, launches depend on each other as in a stream.
		outer := ctx.series
		outer.Wait()
		ctx.series = &ptx.Series{}
		defer func() { ctx.series = outer }()
		for _, node := range x.nodes {
			if r := node(); r != ok {
				return r
			}
			if r := ctx.e.state(); r != ok { // a late fault ends the graph
				return ok
			}
		}
		return ok
	})
}

//export emuGraphExecDestroy
func emuGraphExecDestroy(h C.CUgraphExec) C.CUresult {
	if _, found := resolve[*executable](unsafe.Pointer(h)); !found {
		return badHandle
	}
	drop(unsafe.Pointer(h))
	return ok
}

//export emuGraphDestroy
func emuGraphDestroy(h C.CUgraph) C.CUresult {
	if _, found := resolve[*graph](unsafe.Pointer(h)); !found {
		return badHandle
	}
	drop(unsafe.Pointer(h))
	return ok
}

// Events.

//export emuEventCreate
func emuEventCreate(out *C.CUevent, flags C.uint) C.CUresult {
	return with(func(ctx *context) C.CUresult {
		*out = C.CUevent(newHandle(&event{ctx: ctx, timing: flags&C.CU_EVENT_DISABLE_TIMING == 0}))
		return ok
	})
}

//export emuEventDestroy
func emuEventDestroy(h C.CUevent) C.CUresult {
	if _, found := resolve[*event](unsafe.Pointer(h)); !found {
		return badHandle
	}
	drop(unsafe.Pointer(h))
	return ok
}

//export emuEventRecord
func emuEventRecord(h C.CUevent, s C.CUstream) C.CUresult { return recordEvent(h, s, capturing(s)) }

//export emuEventRecordWithFlags
func emuEventRecordWithFlags(h C.CUevent, s C.CUstream, flags C.uint) C.CUresult {
	external := flags == C.CU_EVENT_RECORD_EXTERNAL
	if flags > C.CU_EVENT_RECORD_EXTERNAL || external && !capturing(s) {
		return badValue
	}
	return recordEvent(h, s, capturing(s) && !external)
}

// recordEvent makes an event happen when the stream gets there; one that is
// captured has no time.
func recordEvent(h C.CUevent, s C.CUstream, captured bool) C.CUresult {
	ev, found := resolve[*event](unsafe.Pointer(h))
	if !found {
		return badHandle
	}
	ev.captured = captured
	return inStream(s, func(ctx *context) C.CUresult {
		ev.happened, ev.when = true, ctx.e.m.Clock()
		if ev.timing {
			ctx.e.timed++
		}
		return ok
	})
}

//export emuEventQuery
func emuEventQuery(h C.CUevent) C.CUresult {
	return with(func(*context) C.CUresult {
		ev, found := resolve[*event](unsafe.Pointer(h))
		switch {
		case !found:
			return badHandle
		case ev.captured:
			return C.CUDA_ERROR_CAPTURED_EVENT
		}
		return ok
	})
}

//export emuEventSynchronize
func emuEventSynchronize(h C.CUevent) C.CUresult { return emuEventQuery(h) }

//export emuEventElapsedTime
func emuEventElapsedTime(ms *C.float, from, to C.CUevent) C.CUresult {
	return with(func(*context) C.CUresult {
		a, okA := resolve[*event](unsafe.Pointer(from))
		b, okB := resolve[*event](unsafe.Pointer(to))
		switch {
		case !okA || !okB || !a.timing || !b.timing:
			return badHandle
		case a.captured || b.captured:
			return C.CUDA_ERROR_CAPTURED_EVENT
		case !a.happened || !b.happened:
			return badHandle
		}
		*ms = C.float(float64(int64(b.when-a.when)) / 1e6)
		return ok
	})
}
