package weights_test

import (
	"fmt"
	"log"

	"parley/engine/host"
	"parley/nets/clip"
	"parley/weights"
	"parley/weights/mini"
)

// A checkpoint is a set of tensors by name; a net reads its own through a loader,
// which remembers what was missing or did not fit.
func Example() {
	set, err := weights.OpenFS(mini.FS(), "clip")
	if err != nil {
		log.Fatal(err)
	}
	defer set.Close()
	config, err := weights.ReadConfig(mini.FS(), "clip/config.json")
	if err != nil {
		log.Fatal(err)
	}
	net, err := clip.Load(config, set.Loader(host.New(1)))
	if err != nil {
		log.Fatal(err)
	}
	e, _ := set.Entry("logit_scale")
	fmt.Println(set.Len(), "tensors;", e.Name, e.DType, e.Shape)
	fmt.Println("embeddings of", net.Projection, "numbers")
	// Output:
	// 126 tensors; logit_scale F16 []
	// embeddings of 128 numbers
}
