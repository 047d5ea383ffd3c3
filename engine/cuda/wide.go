package cuda

import "parley/engine"

// Wide is a device with f32 in place of f16 for activations and weights: for
// what overflows in f16. It is the same memory and the same stream of work.
type Wide struct{ *Device }

// Float implements engine.Device.
func (Wide) Float() engine.DType { return engine.F32 }

// Unwrap is the device itself.
func (w Wide) Unwrap() engine.Device { return w.Device }
