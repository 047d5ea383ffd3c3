package rerank_test

import (
	"context"
	"fmt"
	"log"
	"runtime"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/rerank"
)

// Draw a text four times, and let the captions of the drawings choose.
func Example() {
	dev := host.New(runtime.NumCPU())
	blip, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	sd, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		log.Fatal(err)
	}
	clip, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	loop := rerank.Loop{
		Captioner: blip.Captioner(models.Beam()),
		Painter:   sd.Painter(sd.Defaults),
		Judge:     clip.Judge(models.EmbedOptions{}),
		K:         4,
	}
	result, err := loop.One(engine.NewRun(context.Background()), rerank.Source{Name: "a cat on the grass", Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	best := result.Candidates[result.Selected]
	fmt.Println(len(result.Candidates), "candidates, the best has rank", best.Rank)
	// Output: 4 candidates, the best has rank 1
}
