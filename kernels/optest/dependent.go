//go:build cuda

package optest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"parley/engine"
	"parley/engine/cuda"
)

// Dependent runs a chain of a room's operations, each of which reads what the one
// before wrote, on the interpreter: as launches that may start early, alone and in
// a graph. It then takes the wait out of the kernels of the room's image, which the
// sanitizer has to find. chain frees nothing.
func Dependent(t *testing.T, image string, chain func(s *engine.Stream)) {
	if os.Getenv("PARLEY_DEVICE") != "" {
		t.Skip("hardware does not tell of a race")
	}
	code, err := cuda.ReadImage(image)
	if err != nil {
		t.Fatal(err)
	}
	const wait = "//sm_90 griddepcontrol.wait;"
	if !strings.Contains(code.PTX, wait) {
		t.Fatal("no kernel waits")
	}
	racing := cuda.NewModule("without a wait", strings.ReplaceAll(code.PTX, wait, ""))
	for _, graph := range []bool{false, true} {
		name := "stream"
		if graph {
			name = "graph"
		}
		t.Run(name, func(t *testing.T) {
			d := GPU(t, false)
			s := engine.NewStream(t.Context(), d)
			run := func(f func()) error {
				if !graph {
					f()
					return errors.Join(s.Err(), d.Synchronize())
				}
				g, err := d.Capture(s, f)
				if err != nil {
					return err
				}
				g.Launch(s)
				return errors.Join(s.Err(), d.Synchronize())
			}
			var launches []cuda.Launched
			d.Watch(func(l cuda.Launched) bool { launches = append(launches, l); return true })
			chain(s)
			d.Watch(nil)
			for _, l := range launches {
				if !l.Dependent {
					t.Errorf("%s waits for the end of the kernel before", l.Kernel)
				}
			}
			start := func(m *cuda.Module) func() {
				return func() {
					for _, l := range launches {
						if m != nil {
							l.Module = m
						}
						d.LaunchDependent(s, l.Module, l.Kernel, l.Grid, l.Block, l.Shared, l.Args...)
					}
				}
			}
			if err := run(start(nil)); err != nil || len(launches) < 2 {
				t.Fatalf("%d launches: %v", len(launches), err)
			}
			err := run(start(racing))
			var lost *cuda.Lost
			if !errors.As(err, &lost) || lost.Fault == nil || !strings.Contains(lost.Fault.Error(), "may still run") {
				t.Errorf("without a wait: %v", err)
			}
		})
	}
}
