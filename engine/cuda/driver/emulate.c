//go:build cuda

#include "driver.h"
#include "_cgo_export.h"

// What of the driver emulate.go serves.
#define EMULATED(S)                                                                    \
    S(DriverGetVersion) S(GetErrorString) S(GetErrorName)                              \
    S(DeviceGet) S(DeviceGetCount) S(DeviceGetName) S(DeviceGetAttribute)              \
    S(DeviceTotalMem) S(DeviceGetUuid) S(DevicePrimaryCtxRetain)                       \
    S(DevicePrimaryCtxRelease) S(DevicePrimaryCtxReset) S(DevicePrimaryCtxGetState)    \
    S(DevicePrimaryCtxSetFlags)                                                        \
    S(CtxCreate) S(CtxDestroy) S(CtxPushCurrent) S(CtxPopCurrent) S(CtxSetCurrent)     \
    S(CtxGetCurrent) S(CtxGetDevice) S(CtxGetFlags) S(CtxGetApiVersion)                \
    S(CtxSynchronize) S(CtxGetStreamPriorityRange)                                     \
    S(ModuleLoad) S(ModuleLoadData) S(ModuleLoadDataEx) S(ModuleUnload)                \
    S(ModuleGetFunction) S(ModuleGetGlobal)                                            \
    S(FuncGetAttribute) S(FuncSetAttribute) S(FuncGetParamInfo) S(FuncSetCacheConfig)  \
    S(OccupancyMaxActiveBlocksPerMultiprocessor)                                       \
    S(OccupancyMaxActiveBlocksPerMultiprocessorWithFlags)                              \
    S(LaunchKernel) S(LaunchKernelEx)                                                  \
    S(MemAlloc) S(MemAllocPitch) S(MemFree) S(MemAllocAsync) S(MemFreeAsync)           \
    S(MemAllocHost) S(MemHostAlloc) S(MemFreeHost) S(MemGetInfo) S(MemGetAddressRange) \
    S(Memcpy) S(MemcpyAsync) S(MemcpyHtoD) S(MemcpyHtoDAsync) S(MemcpyDtoH)            \
    S(MemcpyDtoHAsync) S(MemcpyDtoD) S(MemcpyDtoDAsync)                                \
    S(MemsetD8) S(MemsetD8Async) S(MemsetD16) S(MemsetD16Async) S(MemsetD32)           \
    S(MemsetD32Async)                                                                  \
    S(StreamCreate) S(StreamCreateWithPriority) S(StreamDestroy) S(StreamSynchronize)  \
    S(StreamQuery) S(StreamWaitEvent) S(StreamGetFlags) S(StreamGetPriority)           \
    S(StreamBeginCapture) S(StreamEndCapture) S(StreamIsCapturing)                     \
    S(EventCreate) S(EventDestroy) S(EventRecord) S(EventQuery) S(EventSynchronize)    \
    S(EventElapsedTime) S(EventRecordWithFlags)                                        \
    S(GraphInstantiateWithFlags) S(GraphUpload) S(GraphLaunch) S(GraphExecDestroy)     \
    S(GraphDestroy)

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define ROW(name) {TEXT(cu##name), (void *)emu##name},

void parley_emulation_on(void) {
    static const struct parley_symbol list[] = {EMULATED(ROW)};
    parley_emulate(list, sizeof list / sizeof list[0]);
}

const char *parley_emulated_words(void) { return "by the interpreter of PTX"; }

// As in the driver, every thread has a stack of contexts of its own.
#define DEPTH 32
static __thread void *stack[DEPTH];
static __thread int top;

void *parley_current(void) { return top ? stack[top - 1] : 0; }

void parley_set_current(void *ctx) {
    if (!top)
        top = 1;
    stack[top - 1] = ctx;
}

int parley_push_current(void *ctx) {
    if (top == DEPTH)
        return 0;
    stack[top++] = ctx;
    return 1;
}

void *parley_pop_current(void) { return top ? stack[--top] : 0; }
