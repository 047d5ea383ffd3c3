package timing

import (
	"slices"
	"strings"

	"parley/engine"
	"parley/engine/cuda"
)

// Weights are the arguments of a launch that another layer would have others of: a
// product's weights, and what else an operation reads. Its result and what the
// operation before has just written stay where they are.
func Weights(l cuda.Launched, out *engine.Tensor) []int {
	switch family, _, _ := strings.Cut(l.Kernel, "_"); family {
	case "linear", "geglu":
		return []int{2}
	case "conv":
		return []int{3}
	}
	var args []int
	for i, a := range l.Args {
		if t, ok := a.(*engine.Tensor); ok && t != nil && t.DType() == engine.F16 && (out == nil || t.Memory().Addr != out.Memory().Addr) {
			args = append(args, i)
		}
	}
	return args
}

// With is a launch with the i-th copies of some arguments.
func (r *Rotation) With(l cuda.Launched, args []int, i int) cuda.Launched {
	l.Args = slices.Clone(l.Args)
	for k, a := range args {
		if t, ok := l.Args[a].(*engine.Tensor); ok && t != nil {
			l.Args[a] = r.Copy(t, len(args)*i+k)
		}
	}
	return l
}

// Largest is the bytes of the largest weights of some launches.
func Largest(launches []cuda.Launched, out *engine.Tensor) int {
	most := 0
	for _, l := range launches {
		sum := 0
		for _, a := range Weights(l, out) {
			if t, ok := l.Args[a].(*engine.Tensor); ok && t != nil {
				sum += t.Bytes()
			}
		}
		most = max(most, sum)
	}
	return most
}
