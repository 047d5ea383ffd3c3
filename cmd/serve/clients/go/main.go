// The openai-go package against a server that runs: go run . URL KEY
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"
	"log"
	"math"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: clients URL KEY")
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		log.Fatal("openai-go: ", err)
	}
	fmt.Println("openai-go is served")
}

func serve(url, key string) error {
	ctx := context.Background()
	at := []option.RequestOption{option.WithBaseURL(url + "/v1"), option.WithMaxRetries(0)}
	client := openai.NewClient(append(at, option.WithAPIKey(key))...)
	more := []option.RequestOption{option.WithJSONSet("seed", 7), option.WithJSONSet("steps", 3)}

	models, err := client.Models.List(ctx)
	if err != nil || len(models.Data) != 3 || models.Data[0].ID != "mini-sd" {
		return fmt.Errorf("models: %+v, %w", models, err)
	}
	r, err := client.Images.Generate(ctx, openai.ImageGenerateParams{Prompt: "a cat on the grass", N: openai.Int(2), Size: "64x64"}, more...)
	if err != nil || len(r.Data) != 2 {
		return fmt.Errorf("generate: %+v, %w", r, err)
	}
	for _, d := range r.Data {
		data, err := base64.StdEncoding.DecodeString(d.B64JSON)
		if err != nil {
			return err
		}
		m, err := png.Decode(bytes.NewReader(data))
		if err != nil || m.Bounds().Dx() != 64 {
			return fmt.Errorf("a picture: %w", err)
		}
	}
	stream := client.Images.GenerateStreaming(ctx, openai.ImageGenerateParams{Prompt: "a cat", PartialImages: openai.Int(2)},
		option.WithJSONSet("seed", 7), option.WithJSONSet("steps", 6))
	kinds := ""
	for stream.Next() {
		kinds += stream.Current().Type + " "
	}
	const partial, completed = "image_generation.partial_image ", "image_generation.completed "
	if stream.Err() != nil || kinds != partial+partial+completed {
		return fmt.Errorf("a stream of %q, %w", kinds, stream.Err())
	}
	e, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "mini-clip",
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a cat", "two red apples"}}})
	if err != nil || len(e.Data) != 2 {
		return fmt.Errorf("embeddings: %w", err)
	}
	sum := 0.0
	for _, v := range e.Data[0].Embedding {
		sum += v * v
	}
	if math.Abs(sum-1) > 1e-4 {
		return fmt.Errorf("an embedding of length %v", math.Sqrt(sum))
	}
	var failed *openai.Error
	if _, err := client.Images.Generate(ctx, openai.ImageGenerateParams{Prompt: "a", N: openai.Int(99)}); !errors.As(err, &failed) ||
		failed.StatusCode != 400 {
		return fmt.Errorf("99 pictures: %w", err)
	}
	other := openai.NewClient(append(at, option.WithAPIKey("wrong"))...)
	if _, err := other.Models.List(ctx); !errors.As(err, &failed) || failed.StatusCode != 401 {
		return fmt.Errorf("a wrong key: %w", err)
	}
	return nil
}
