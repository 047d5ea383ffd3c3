package models_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/diffusion"
	"parley/nets/forward"
	"parley/nets/models"
	"parley/weights/mini"
)

// TestPrediction: the option gives what a scheduler of the checkpoint that
// says the same does.
func TestPrediction(t *testing.T) {
	sub, err := fs.Sub(mini.FS(), "sd")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "sd")
	if err := os.CopyFS(dir, sub); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "scheduler", "scheduler_config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&config); err != nil {
		t.Fatal(err)
	}
	config["prediction_type"] = "v_prediction"
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	at, err := models.At(dir)
	if err != nil {
		t.Fatal(err)
	}
	draw := func(src models.Source, prediction string) []float32 {
		t.Helper()
		ids := engine.FromI32([]int32{220, 5, 7}, 1, 3)
		out, err := forward.Once(engine.NewRun(context.Background()), "pipeline", src, host.New(2), forward.Tensors{"input_ids": ids},
			forward.Options{Draw: diffusion.Options{Steps: 2, Guidance: 1, Prediction: prediction}})
		if err != nil {
			t.Fatal(err)
		}
		return out["latents"].F32()
	}
	v := draw(at, "")
	if !slices.Equal(v, draw(models.Embedded("sd"), "v_prediction")) {
		t.Error("the option gives other latents than the scheduler")
	}
	if noise := draw(models.Embedded("sd"), ""); slices.Equal(v, noise) || !slices.Equal(noise, draw(at, "epsilon")) {
		t.Error("the option does not go before the scheduler")
	}
}
