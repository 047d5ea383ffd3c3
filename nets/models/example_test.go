package models_test

import (
	"context"
	"fmt"
	"log"
	"runtime"

	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
)

// Draw a text, describe the drawing, and hold both against each other.
func Example() {
	ctx, dev := context.Background(), host.New(runtime.NumCPU())
	sd, err := models.OpenPainter(models.Embedded("sd"), dev)
	if err != nil {
		log.Fatal(err)
	}
	var drawing *pixels.Image
	err = sd.Paint(ctx, []string{"a cat on the grass"}, []uint64{7}, func(_ int, d models.Painted) {
		if d.Err != nil {
			log.Fatal(d.Err)
		}
		if drawing, err = d.Picture.Host(); err != nil {
			log.Fatal(err)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	blip, err := models.OpenCaptioner(models.Embedded("blip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	captions, err := blip.Captions(ctx, []pixels.Picture{drawing}, 1, 0)
	if err != nil {
		log.Fatal(err)
	}
	clip, err := models.OpenJudge(models.Embedded("clip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	embeddings, err := clip.Texts(ctx, []string{captions[0][0].Text, "a cat on the grass"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(drawing.W, "x", drawing.H, "pixels;", embeddings.Shape(), "embeddings")
	// Output: 64 x 64 pixels; (2, 128) embeddings
}
