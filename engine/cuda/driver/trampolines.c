//go:build cuda

// The driver's functions, as gorgonia.org/cu and this package link them. Each
// is one jump through a pointer of its own, so that what stands behind it can
// be libcuda.so.1, the interpreter of PTX, or nothing.
//
// The jump is assembly because a C function would have to repeat 177
// signatures to say the same. The symbols are hidden: the program exports
// nothing that another library could take for the driver.

#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define SYMBOLS(S) \
    S(cuArray3DCreate) S(cuArray3DGetDescriptor) S(cuArrayCreate) S(cuArrayDestroy) \
    S(cuArrayGetDescriptor) S(cuCtxCreate) S(cuCtxDestroy) S(cuCtxDisablePeerAccess) \
    S(cuCtxEnablePeerAccess) S(cuCtxGetApiVersion) S(cuCtxGetCacheConfig) S(cuCtxGetCurrent) \
    S(cuCtxGetDevice) S(cuCtxGetFlags) S(cuCtxGetLimit) S(cuCtxGetSharedMemConfig) \
    S(cuCtxGetStreamPriorityRange) S(cuCtxPopCurrent) S(cuCtxPushCurrent) \
    S(cuCtxResetPersistingL2Cache) S(cuCtxSetCacheConfig) S(cuCtxSetCurrent) \
    S(cuCtxSetLimit) S(cuCtxSetSharedMemConfig) S(cuCtxSynchronize) S(cuDeviceCanAccessPeer) \
    S(cuDeviceGet) S(cuDeviceGetAttribute) S(cuDeviceGetCount) S(cuDeviceGetName) \
    S(cuDeviceGetP2PAttribute) S(cuDeviceGetUuid) S(cuDevicePrimaryCtxGetState) \
    S(cuDevicePrimaryCtxRelease) S(cuDevicePrimaryCtxReset) S(cuDevicePrimaryCtxRetain) \
    S(cuDevicePrimaryCtxSetFlags) S(cuDeviceTotalMem) S(cuDriverGetVersion) S(cuEventCreate) \
    S(cuEventDestroy) S(cuEventElapsedTime) S(cuEventQuery) S(cuEventRecord) \
    S(cuEventRecordWithFlags) \
    S(cuEventSynchronize) S(cuFuncGetAttribute) S(cuFuncGetParamInfo) S(cuFuncSetAttribute) \
    S(cuFuncSetCacheConfig) S(cuFuncSetSharedMemConfig) S(cuGetErrorName) \
    S(cuGetErrorString) S(cuGraphAddChildGraphNode) S(cuGraphAddDependencies) \
    S(cuGraphAddEmptyNode) S(cuGraphAddHostNode) S(cuGraphAddKernelNode) \
    S(cuGraphAddMemcpyNode) S(cuGraphAddMemsetNode) S(cuGraphClone) S(cuGraphCreate) \
    S(cuGraphDestroy) S(cuGraphDestroyNode) S(cuGraphExecDestroy) S(cuGraphGetEdges) \
    S(cuGraphInstantiateWithFlags) S(cuGraphLaunch) S(cuGraphUpload) \
    S(cuLaunchKernel) S(cuLaunchKernelEx) S(cuLinkAddData) S(cuLinkAddFile) \
    S(cuLinkComplete) S(cuLinkCreate) S(cuLinkDestroy) \
    S(cuMemAdvise) S(cuMemAlloc) S(cuMemAllocAsync) S(cuMemAllocHost) S(cuMemAllocManaged) \
    S(cuMemAllocPitch) S(cuMemFree) S(cuMemFreeAsync) S(cuMemFreeHost) \
    S(cuMemGetAddressRange) S(cuMemGetInfo) S(cuMemHostAlloc) S(cuMemPrefetchAsync) \
    S(cuMemcpy) S(cuMemcpy2D) S(cuMemcpy2DAsync) S(cuMemcpy2DUnaligned) S(cuMemcpy3D) \
    S(cuMemcpy3DAsync) S(cuMemcpy3DPeer) S(cuMemcpy3DPeerAsync) S(cuMemcpyAsync) \
    S(cuMemcpyAtoA) S(cuMemcpyAtoD) S(cuMemcpyAtoH) S(cuMemcpyAtoHAsync) S(cuMemcpyDtoA) \
    S(cuMemcpyDtoD) S(cuMemcpyDtoDAsync) S(cuMemcpyDtoH) S(cuMemcpyDtoHAsync) \
    S(cuMemcpyHtoA) S(cuMemcpyHtoAAsync) S(cuMemcpyHtoD) S(cuMemcpyHtoDAsync) \
    S(cuMemcpyPeer) S(cuMemcpyPeerAsync) S(cuMemsetD16) S(cuMemsetD16Async) S(cuMemsetD2D16) \
    S(cuMemsetD2D16Async) S(cuMemsetD2D32) S(cuMemsetD2D32Async) S(cuMemsetD2D8) \
    S(cuMemsetD2D8Async) S(cuMemsetD32) S(cuMemsetD32Async) S(cuMemsetD8) S(cuMemsetD8Async) \
    S(cuModuleGetFunction) S(cuModuleGetGlobal) S(cuModuleGetSurfRef) S(cuModuleGetTexRef) \
    S(cuModuleLoad) S(cuModuleLoadData) S(cuModuleLoadDataEx) S(cuModuleLoadFatBinary) \
    S(cuModuleUnload) S(cuOccupancyMaxActiveBlocksPerMultiprocessor) \
    S(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags) \
    S(cuOccupancyMaxPotentialBlockSize) S(cuPointerGetAttribute) S(cuPointerSetAttribute) \
    S(cuStreamAttachMemAsync) S(cuStreamBeginCapture) S(cuStreamCreate) \
    S(cuStreamCreateWithPriority) S(cuStreamDestroy) S(cuStreamEndCapture) \
    S(cuStreamGetFlags) S(cuStreamGetPriority) S(cuStreamIsCapturing) S(cuStreamQuery) \
    S(cuStreamSynchronize) S(cuStreamWaitEvent) S(cuStreamWaitValue32) \
    S(cuStreamWriteValue32) S(cuSurfRefGetArray) S(cuSurfRefSetArray) \
    S(cuTensorMapEncodeTiled) S(cuTexRefGetAddress) S(cuTexRefGetAddressMode) \
    S(cuTexRefGetArray) S(cuTexRefGetBorderColor) S(cuTexRefGetFilterMode) \
    S(cuTexRefGetFlags) S(cuTexRefGetFormat) S(cuTexRefGetMaxAnisotropy) \
    S(cuTexRefSetAddress) S(cuTexRefSetAddress2D) S(cuTexRefSetAddressMode) \
    S(cuTexRefSetArray) S(cuTexRefSetBorderColor) S(cuTexRefSetFilterMode) \
    S(cuTexRefSetFlags) S(cuTexRefSetFormat) S(cuTexRefSetMaxAnisotropy) \
    S(cuTexRefSetMipmapFilterMode) S(cuTexRefSetMipmapLevelBias) \
    S(cuTexRefSetMipmapLevelClamp)

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x

#if defined(__x86_64__)
#define JUMP(slot) "jmp *" slot "(%rip)\n"
#define PAD ".p2align 4\n"
#elif defined(__aarch64__)
#define JUMP(slot) "adrp x16, " slot "\nldr x16, [x16, :lo12:" slot "]\nbr x16\n"
#define PAD ".p2align 2\n"
#else
#error "the driver is called on amd64 and arm64 only"
#endif

#define HIDDEN __attribute__((visibility("hidden")))

#define TRAMPOLINE(name)                                                     \
    HIDDEN void *parley_slot_##name;                                         \
    __asm__(".pushsection .text\n" PAD ".globl " TEXT(name) "\n.hidden " TEXT(name)       \
            "\n.type " TEXT(name) ", %function\n" TEXT(name) ":\n"           \
            JUMP("parley_slot_" #name)                                       \
            ".size " TEXT(name) ", .-" TEXT(name) "\n.popsection\n");
SYMBOLS(TRAMPOLINE)

// One row for each symbol: where its jump goes, and where it goes with the
// driver of this host.
static struct row {
    const char *name;
    void **slot;
    void *driver;
} rows[] = {
#define ROW(name) {TEXT(name), &parley_slot_##name, 0},
    SYMBOLS(ROW)
};
#define ROWS (sizeof rows / sizeof rows[0])

static CUresult (*driver_init)(unsigned);
static char load_error[256];

static CUresult no_driver(void) { return CUDA_ERROR_NOT_INITIALIZED; }
static CUresult no_symbol(void) { return CUDA_ERROR_NOT_FOUND; }
static CUresult not_emulated(void) { return CUDA_ERROR_NOT_SUPPORTED; }

// Where containers, WSL and NixOS have the driver, which the loader's own search may not
// know of.
static const char *const places[] = {
    "/usr/local/nvidia/lib64/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1",
    "/run/opengl-driver/lib/libcuda.so.1",
};

// Runs before Go's packages are initialised: cu's init is one of them.
__attribute__((constructor)) static void load(void) {
    void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        snprintf(load_error, sizeof load_error, "%s", dlerror());
    for (size_t i = 0; !lib && i < sizeof places / sizeof places[0]; i++)
        lib = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
    if (lib) {
        load_error[0] = 0;
        driver_init = (CUresult(*)(unsigned))dlsym(lib, "cuInit");
    }
    for (size_t i = 0; i < ROWS; i++) {
        void *fn = lib ? dlsym(lib, rows[i].name) : (void *)no_driver;
        rows[i].driver = fn ? fn : (void *)no_symbol;
        *rows[i].slot = rows[i].driver;
    }
}

// cu calls this in its init and ends the process when it fails. The driver is
// started by parley_start instead, when somebody asks for it: on a host with
// GPUs that takes up to seconds, which the CPU commands need not wait for.
HIDDEN CUresult cuInit(unsigned flags) { return CUDA_SUCCESS; }

CUresult parley_start(void) {
    return driver_init ? driver_init(0) : CUDA_ERROR_NOT_INITIALIZED;
}

const char *parley_load_error(void) { return load_error; }

// With the emulation's own list, every other symbol answers "not supported".
void parley_emulate(const struct parley_symbol *list, size_t n) {
    for (size_t i = 0; i < ROWS; i++) {
        void *fn = (void *)not_emulated;
        for (size_t j = 0; j < n; j++)
            if (!strcmp(list[j].name, rows[i].name))
                fn = list[j].fn;
        __atomic_store_n(rows[i].slot, fn, __ATOMIC_RELEASE);
    }
}

void parley_restore(void) {
    for (size_t i = 0; i < ROWS; i++)
        __atomic_store_n(rows[i].slot, rows[i].driver, __ATOMIC_RELEASE);
}

static void *driver_function(const char *name) {
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(name, rows[i].name))
            return rows[i].driver;
    return (void *)no_symbol;
}

CUresult parley_driver_version(int *v) {
    return ((CUresult(*)(int *))driver_function("cuDriverGetVersion"))(v);
}

CUresult parley_driver_devices(int *n) {
    return ((CUresult(*)(int *))driver_function("cuDeviceGetCount"))(n);
}

size_t parley_missing(void) {
    size_t n = 0;
    for (size_t i = 0; i < ROWS; i++)
        n += rows[i].driver == (void *)no_symbol;
    return n;
}
