// Asm generates the assembly of package simd.
package main

import (
	_ "github.com/klauspost/cpuid/v2"
	_ "github.com/mmcloughlin/avo/build"
)

func main() {}
