package models_test

import (
	"context"
	"fmt"
	"log"
	"runtime"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/rerank"
)

// Draw a text, describe the drawing, and hold both against each other.
func Example() {
	run, dev := engine.NewRun(context.Background()), host.New(runtime.NumCPU())
	sd, err := models.OpenStableDiffusion(models.Embedded("sd"), dev)
	if err != nil {
		log.Fatal(err)
	}
	var drawing *pixels.Image
	err = sd.Draw(run, []string{"a cat on the grass"}, []uint64{7}, sd.Defaults, func(_ int, d rerank.Drawing) {
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
	blip, err := models.OpenBLIP(models.Embedded("blip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	captions, err := blip.Caption(run, []pixels.Picture{drawing}, 1, []uint64{0}, models.Beam())
	if err != nil {
		log.Fatal(err)
	}
	clip, err := models.OpenCLIP(models.Embedded("clip"), dev)
	if err != nil {
		log.Fatal(err)
	}
	embeddings, err := clip.EmbedTexts(run, []string{captions[0][0].Text, "a cat on the grass"}, models.EmbedOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(drawing.W, "x", drawing.H, "pixels;", embeddings.Shape(), "embeddings")
	// Output: 64 x 64 pixels; (2, 128) embeddings
}
