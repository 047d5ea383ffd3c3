// Package pickle reads the tensors of torch's checkpoints without executing
// anything of them.
package pickle

import (
	"errors"

	"parley/weights/safetensors"
)

// Parse finds the tensors of a checkpoint.
func Parse(name string, data []byte) ([]safetensors.Tensor, error) {
	return nil, errors.New(name + ": pickles are not read yet")
}
