package optest

import "parley/kernels/matmul"

// Activation is an activation in float64, for tests of single kernels.
func Activation(a matmul.Act, x float64) float64 { return activation(a, x) }
