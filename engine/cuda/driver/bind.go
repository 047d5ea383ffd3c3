//go:build cuda

package driver

/*
#include <stdlib.h>
#include "driver.h"
*/
import "C"

import (
	"unsafe"

	"gorgonia.org/cu"
)

// gorgonia.org/cu's handles are structs of one pointer, which is the driver's.
func function(f cu.Function) C.CUfunction { return *(*C.CUfunction)(unsafe.Pointer(&f)) }
func stream(s cu.Stream) C.CUstream       { return *(*C.CUstream)(unsafe.Pointer(&s)) }

// Attributes that cu has no name for, as numbers of cuDeviceGetAttribute.
const (
	MaxSharedOptIn     cu.DeviceAttribute = C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
	MaxBlocksPerMulti  cu.DeviceAttribute = C.CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR
	TensorMapSupported cu.DeviceAttribute = C.CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED
)

// SetMaxDynamicShared allows launches of f that ask for up to that many bytes
// of dynamic shared memory; without it 48 KiB is the most.
func SetMaxDynamicShared(f cu.Function, bytes int) error {
	return check(C.cuFuncSetAttribute(function(f), C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(bytes)))
}

// Launch is cu's Function.Launch with what that lacks: arguments of more than 8
// bytes, args[i] being a pointer to sizes[i] of them; and cooperative launches, of a
// kernel whose blocks wait for each other: the driver starts all of them at once, or
// answers CooperativeTooLarge.
func Launch(f cu.Function, grid, block [3]int, shared int, s cu.Stream, args []unsafe.Pointer, sizes []int, cooperative bool) error {
	// The pointers and the values they point to lie in C's memory, one after the
	// other, each value at a multiple of 64 bytes: no type asks for more.
	const align = 64
	up := func(n int) int { return (n + align - 1) &^ (align - 1) }
	total := up(8 * len(args))
	for _, n := range sizes {
		total += up(n)
	}
	mem := C.malloc(C.size_t(total + align))
	defer C.free(mem)
	at := unsafe.Add(mem, up(int(uintptr(mem)))-int(uintptr(mem)))
	pointers := unsafe.Slice((*unsafe.Pointer)(at), len(args))
	at = unsafe.Add(at, up(8*len(args)))
	for i, a := range args {
		copy(unsafe.Slice((*byte)(at), sizes[i]), unsafe.Slice((*byte)(a), sizes[i]))
		pointers[i] = at
		at = unsafe.Add(at, up(sizes[i]))
	}
	if cooperative {
		return check(C.cuLaunchCooperativeKernel(function(f), C.uint(grid[0]), C.uint(grid[1]), C.uint(grid[2]),
			C.uint(block[0]), C.uint(block[1]), C.uint(block[2]), C.uint(shared), stream(s), unsafe.SliceData(pointers)))
	}
	return check(C.cuLaunchKernel(function(f), C.uint(grid[0]), C.uint(grid[1]), C.uint(grid[2]),
		C.uint(block[0]), C.uint(block[1]), C.uint(block[2]), C.uint(shared), stream(s), unsafe.SliceData(pointers), nil))
}

// ParamSizes lists the sizes of a kernel's parameters in bytes.
func ParamSizes(f cu.Function) ([]int, error) {
	var sizes []int
	for i := 0; ; i++ {
		var offset, size C.size_t
		switch r := C.cuFuncGetParamInfo(function(f), C.size_t(i), &offset, &size); r {
		case C.CUDA_SUCCESS:
			sizes = append(sizes, int(size))
		case C.CUDA_ERROR_INVALID_VALUE: // past the last
			return sizes, nil
		default:
			return nil, Result(r)
		}
	}
}

// HostAlloc returns page-locked memory of the host, which the device copies
// from and to without waiting. cu.MemFreeHost gives it back.
func HostAlloc(bytes int) (unsafe.Pointer, error) {
	var p unsafe.Pointer
	return p, check(C.cuMemHostAlloc(&p, C.size_t(bytes), C.CU_MEMHOSTALLOC_PORTABLE))
}

// AllocAsync allocates device memory in a stream's order, from the pool that
// the driver keeps; FreeAsync gives it back.
func AllocAsync(bytes int, s cu.Stream) (cu.DevicePtr, error) {
	var p C.CUdeviceptr
	err := check(C.cuMemAllocAsync(&p, C.size_t(bytes), stream(s)))
	return cu.DevicePtr(p), err
}

// FreeAsync frees memory of AllocAsync when the stream gets there.
func FreeAsync(p cu.DevicePtr, s cu.Stream) error {
	return check(C.cuMemFreeAsync(C.CUdeviceptr(p), stream(s)))
}

// Graph is a captured sequence of launches and copies, ready to run again.
type Graph struct{ exec C.CUgraphExec }

// BeginCapture makes a stream record what it is given instead of running it.
// The mode is the relaxed one: calls that would wait for the device or
// allocate are not recorded, and not refused.
func BeginCapture(s cu.Stream) error {
	return check(C.cuStreamBeginCapture(stream(s), C.CU_STREAM_CAPTURE_MODE_RELAXED))
}

// EndCapture ends BeginCapture and returns what was recorded.
func EndCapture(s cu.Stream) (Graph, error) {
	var graph C.CUgraph
	if err := check(C.cuStreamEndCapture(stream(s), &graph)); err != nil {
		return Graph{}, err
	}
	var g Graph
	err := check(C.cuGraphInstantiateWithFlags(&g.exec, graph, 0))
	if e := check(C.cuGraphDestroy(graph)); err == nil {
		err = e
	}
	return g, err
}

// Launch runs the graph after what the stream holds.
func (g Graph) Launch(s cu.Stream) error { return check(C.cuGraphLaunch(g.exec, stream(s))) }

// Destroy frees the graph.
func (g Graph) Destroy() error { return check(C.cuGraphExecDestroy(g.exec)) }

// TensorMap describes a tensor to the bulk copy engine of sm_90. It is passed
// to a kernel by value, in memory aligned to 64 bytes.
type TensorMap [128]byte

// TensorMapType is the type of a tensor map's elements.
type TensorMapType int

// The element types that the engine has.
const (
	TensorMapF16  TensorMapType = C.CU_TENSOR_MAP_DATA_TYPE_FLOAT16
	TensorMapBF16 TensorMapType = C.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
	TensorMapF32  TensorMapType = C.CU_TENSOR_MAP_DATA_TYPE_FLOAT32
)

// EncodeTensorMap describes tiles of box elements in a row-major tensor at
// address. dims and box go from the fastest dimension to the slowest; strides
// are the bytes between neighbours of every dimension but the fastest. The
// tiles lie in shared memory swizzled over rows of 128 bytes.
func EncodeTensorMap(t TensorMapType, address cu.DevicePtr, dims, strides []uint64, box []uint32) (TensorMap, error) {
	var m TensorMap
	if len(dims) == 0 || len(strides) != len(dims)-1 || len(box) != len(dims) {
		return m, InvalidValue
	}
	// The driver wants the map itself aligned, which Go's arrays are not.
	mem := C.aligned_alloc(64, C.sizeof_CUtensorMap)
	defer C.free(mem)
	steps := make([]C.cuuint32_t, len(dims))
	for i := range steps {
		steps[i] = 1
	}
	var stride *C.cuuint64_t
	if len(strides) > 0 {
		stride = (*C.cuuint64_t)(&strides[0])
	}
	err := check(C.parley_tensor_map((*C.CUtensorMap)(mem), C.CUtensorMapDataType(t), C.cuuint32_t(len(dims)),
		C.CUdeviceptr(address), (*C.cuuint64_t)(&dims[0]), stride, (*C.cuuint32_t)(&box[0]), &steps[0]))
	copy(m[:], unsafe.Slice((*byte)(mem), len(m)))
	return m, err
}
