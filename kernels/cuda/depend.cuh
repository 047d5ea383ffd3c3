// Programmatic dependent launch: a kernel's blocks may start while the kernel before
// still runs, once all of its blocks said launch_dependents or ended.
//
// The instructions are sm_90's. In the PTX, which is for sm_80 and later, each stands
// behind //sm_90, a comment; what makes code of it for sm_90 takes the comment sign
// away (ptx.py, and cuda.Image.TextFor for the driver's compiler).
#pragma once

// Waits for the end of the kernel before, and so of all before it, and sees what they
// wrote. Each thread calls it before it reads what a kernel wrote, or writes. Weights,
// which no kernel writes, may be read before.
inline void wait_for_kernel_before() { asm volatile("//sm_90 griddepcontrol.wait;" ::: "memory"); }

// Lets the kernel behind start, of which the device then places as many blocks as
// there is room for. After the last loads from global memory are issued.
inline void launch_dependents() { asm volatile("//sm_90 griddepcontrol.launch_dependents;" ::: "memory"); }

// Both, for kernels so short that what is behind may as well start at once.
inline void start_dependent() {
  wait_for_kernel_before();
  launch_dependents();
}
