// What the C files and the Go files of this package share.
#ifndef PARLEY_DRIVER_H
#define PARLEY_DRIVER_H

#include <cuda.h>

// A function that stands for one of the driver's.
struct parley_symbol {
    const char *name;
    void *fn;
};

// parley_start is the driver's own cuInit.
CUresult parley_start(void);
// parley_load_error says why libcuda.so.1 was not loaded; empty if it was.
const char *parley_load_error(void);
// parley_missing counts the symbols that the loaded driver lacks.
size_t parley_missing(void);

// What the loaded driver answers, whatever stands in its place.
CUresult parley_driver_version(int *version);
CUresult parley_driver_devices(int *n);
// parley_error_name is the code's name in cuda.h, or null.
const char *parley_error_name(CUresult code);

CUresult parley_launch(CUfunction fn, const unsigned grid[3], const unsigned block[3],
                       unsigned shared, CUstream stream, int cooperative, int programmatic,
                       char *args, const uint32_t *offsets, size_t n);
CUresult parley_tensor_map(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank,
                           CUdeviceptr address, const cuuint64_t *dims, const cuuint64_t *strides,
                           const cuuint32_t *box, const cuuint32_t *steps);

// parley_emulate puts functions in the driver's place, parley_restore undoes
// it.
void parley_emulate(const struct parley_symbol *list, size_t n);
void parley_restore(void);
// parley_emulation_on installs the functions of emulate.go.
void parley_emulation_on(void);

// parley_emulated_words are the emulation's for any error.
const char *parley_emulated_words(void);

// The emulation's contexts that are current on this thread, the last on top.
void *parley_current(void);
void parley_set_current(void *ctx);
int parley_push_current(void *ctx);
void *parley_pop_current(void);

#endif
