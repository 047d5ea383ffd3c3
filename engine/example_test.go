package engine_test

import (
	"context"
	"fmt"
	"log"

	"parley/engine"
	"parley/engine/host"
	"parley/kernels/elementwise"
)

// prints tells of every operation.
type prints struct{}

func (prints) Record(s engine.Span) {
	if s.Op != "" {
		fmt.Println(s.Path, s.Out.Shape(), s.FLOPs, "FLOPs")
	}
}

// A run carries the device and who records; a stream of it runs operations.
func Example() {
	run := engine.Run{Context: context.Background(), Device: host.New(1), Recorder: prints{}, Path: "example"}
	s := run.Stream()
	defer s.Close()
	x := s.Put(engine.FromF32([]float32{1, 2, 3}, 3))
	s.Enter("blend")
	y := s.Leave(elementwise.Mix(s, 0.5, x, 0.5, x))
	h, err := s.Get(y)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(h.F32())
	// Output:
	// example.upload [3] 0 FLOPs
	// example.blend.mix [3] 9 FLOPs
	// example.download [3] 0 FLOPs
	// [1 2 3]
}
