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

// Config is how a kernel is launched.
type Config struct {
	Grid, Block [3]int
	Shared      int // bytes of dynamic shared memory
	Stream      cu.Stream

	// Cooperative starts all blocks at once, since they wait for each other; the
	// driver answers CooperativeTooLarge where it cannot.
	Cooperative bool
	// Programmatic lets the kernel start before the one before it in the stream has
	// ended, as far as that one allows it (griddepcontrol.launch_dependents). The
	// kernel waits for its end itself (griddepcontrol.wait). It needs sm_90.
	Programmatic bool
}

// Params says where a kernel's arguments lie in their packed form, in bytes.
type Params struct {
	Offsets, Sizes []uint32
	Bytes          int
}

// ParamsOf asks for a kernel's parameters.
func ParamsOf(f cu.Function) (Params, error) {
	var p Params
	for i := 0; ; i++ {
		var offset, size C.size_t
		switch r := C.cuFuncGetParamInfo(function(f), C.size_t(i), &offset, &size); r {
		case C.CUDA_SUCCESS:
			p.Offsets, p.Sizes = append(p.Offsets, uint32(offset)), append(p.Sizes, uint32(size))
			p.Bytes = int(offset + size)
		case C.CUDA_ERROR_INVALID_VALUE: // past the last
			return p, nil
		default:
			return p, Result(r)
		}
	}
}

// Launch starts a kernel. cu's own Launch takes arguments of 8 bytes and no
// attributes; these are packed, as p says, and of any size: a structure by value
// is its bytes.
func Launch(f cu.Function, c Config, p Params, args []byte) error {
	if len(args) < p.Bytes {
		return InvalidValue
	}
	var grid, block [3]C.uint
	for i := range 3 {
		grid[i], block[i] = C.uint(c.Grid[i]), C.uint(c.Block[i])
	}
	return check(C.parley_launch(function(f), &grid[0], &block[0], C.uint(c.Shared), stream(c.Stream),
		flag(c.Cooperative), flag(c.Programmatic),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(args))), (*C.uint32_t)(unsafe.SliceData(p.Offsets)), C.size_t(len(p.Offsets))))
}

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}

// RecordInGraph records an event in a stream that is being captured, as a node of
// its own: it happens anew at each launch of the graph. cu's Event.Record would
// only order other streams of the capture behind it.
func RecordInGraph(e cu.Event, s cu.Stream) error {
	return check(C.cuEventRecordWithFlags(*(*C.CUevent)(unsafe.Pointer(&e)), stream(s), C.CU_EVENT_RECORD_EXTERNAL))
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
// to a kernel by value, in memory aligned to 64 bytes (CUDA 12), or to 128 as CUDA 13
// declares it.
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
	mem := C.aligned_alloc(128, C.sizeof_CUtensorMap)
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
