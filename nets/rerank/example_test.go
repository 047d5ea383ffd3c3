package rerank_test

import (
	"context"
	"fmt"
	"log"
	"runtime"

	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/rerank"
)

// Draw a text four times, and let the captions of the drawings choose.
func Example() {
	dev := host.New(runtime.NumCPU())
	blip, err := models.OpenCaptioner(models.Embedded("blip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	sd, err := models.OpenPainter(models.Embedded("sd"), dev)
	if err != nil {
		log.Fatal(err)
	}
	clip, err := models.OpenJudge(models.Embedded("clip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	blip.CaptionOptions = models.Beam()
	loop := rerank.Loop{Captioner: blip, Painter: sd, Judge: clip, Seed: 1}
	result, err := loop.Text(context.Background(), "a cat on the grass", 4)
	if err != nil {
		log.Fatal(err)
	}
	best := result.Candidates[result.Selected]
	fmt.Println(len(result.Candidates), "candidates, the best has rank", best.Rank)
	// Output: 4 candidates, the best has rank 1
}
