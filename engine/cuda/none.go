//go:build !cuda

package cuda

import (
	"errors"

	"parley/engine"
)

// Built says whether the program has the CUDA side.
const Built = false

var errBuild = errors.New("this binary was built without CUDA: build it with `make`, which needs a C compiler")

// Device is never made in a build without the tag cuda: its methods are here
// for the code that would call them.
type Device struct{ _ int }

// Graph is never made either.
type Graph struct{ _ int }

// Driver says that the build has none.
func Driver() (ready bool, words string) { return false, errBuild.Error() }

// Devices finds none.
func Devices() ([]Info, error) { return nil, errBuild }

// Open returns an error that says how to build.
func Open(Options) (*Device, error) { return nil, errBuild }

// On is false: no stream runs on a GPU.
func On(engine.Device) (*Device, bool) { return nil, false }

// Wide implements engine.Widener.
func (*Device) Wide() engine.Device { panic(errBuild) }

// Name implements engine.Device.
func (*Device) Name() string { panic(errBuild) }

// Float implements engine.Device.
func (*Device) Float() engine.DType { panic(errBuild) }

// Local implements engine.Device.
func (*Device) Local() bool { panic(errBuild) }

// Info describes the device.
func (*Device) Info() Info { panic(errBuild) }

// SMs is the number of multiprocessors.
func (*Device) SMs() int { panic(errBuild) }

// MaxShared is the most shared memory of a block in bytes.
func (*Device) MaxShared() int { panic(errBuild) }

// Alloc implements engine.Device.
func (*Device) Alloc(int) (engine.Memory, error) { panic(errBuild) }

// Free implements engine.Device.
func (*Device) Free(engine.Memory) { panic(errBuild) }

// Upload implements engine.Device.
func (*Device) Upload(*engine.Tensor, []byte) error { panic(errBuild) }

// Download implements engine.Device.
func (*Device) Download([]byte, *engine.Tensor) error { panic(errBuild) }

// Copy copies between tensors of the device.
func (*Device) Copy(dst, src *engine.Tensor) error { panic(errBuild) }

// Zero fills a tensor with zeros.
func (*Device) Zero(*engine.Tensor) error { panic(errBuild) }

// Launch starts a kernel.
func (*Device) Launch(s *engine.Stream, m *Module, kernel string, grid, block Dim, shared int, args ...any) {
	panic(errBuild)
}

// LaunchCooperative starts a kernel whose blocks wait for each other.
func (*Device) LaunchCooperative(s *engine.Stream, m *Module, kernel string, grid, block Dim, shared int, args ...any) {
	panic(errBuild)
}

// LaunchDependent starts a kernel that may overlap the one before it.
func (*Device) LaunchDependent(s *engine.Stream, m *Module, kernel string, grid, block Dim, shared int, args ...any) {
	panic(errBuild)
}

// Watch has f told of every launch.
func (*Device) Watch(f func(Launched) bool) { panic(errBuild) }

// WatchDownloads has f told of every copy to the host.
func (*Device) WatchDownloads(f func(bytes int)) { panic(errBuild) }

// Architecture says what a module was loaded from.
func (*Device) Architecture(*Module) int { panic(errBuild) }

// Occupancy is how many blocks of a kernel a multiprocessor holds.
func (*Device) Occupancy(m *Module, kernel string, threads, shared int) (int, error) { panic(errBuild) }

// Synchronize waits for the device.
func (*Device) Synchronize() error { panic(errBuild) }

// Memory is what is free of the device's memory.
func (*Device) Memory() (free, total int, err error) { panic(errBuild) }

// Usage is what the allocator holds.
func (*Device) Usage() Usage { panic(errBuild) }

// Trim gives cached memory back.
func (*Device) Trim() { panic(errBuild) }

// Close gives the device back.
func (*Device) Close() error { panic(errBuild) }

// Capture records launches as a graph.
func (*Device) Capture(s *engine.Stream, f func()) (engine.Graph, error) { panic(errBuild) }

// Launch runs the graph.
func (*Graph) Launch(s *engine.Stream) { panic(errBuild) }

// Free frees the graph.
func (*Graph) Free() { panic(errBuild) }

// Event is a moment of the device's work.
func (*Device) Event() (engine.Event, error) { panic(errBuild) }
