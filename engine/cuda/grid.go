package cuda

// Blocks is the grid of a kernel whose threads go over n elements in strides of
// the whole grid: a thread an element, up to 65,536 blocks.
func Blocks(n, threads int) Dim { return Dim{X: max(1, min(1<<16, (n+threads-1)/threads))} }
