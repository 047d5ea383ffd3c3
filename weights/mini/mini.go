// Package mini embeds a BLIP, a Stable Diffusion and a CLIP of miniature size,
// trained on a small world of emoji scenes, so that everything runs with no
// download, and 200 scenes of that world that no training saw. models/ is in
// Hugging Face's layout, f16 with matrices of 6 significant bits, packed
// (weights/packed); test/ has pictures and, in captions.json, COCO's annotations.
// train/ has the scripts that made both.
package mini

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
)

//go:embed models test
var files embed.FS

// FS holds blip/, clip/ and sd/, in files that weights.OpenFS unpacks.
func FS() fs.FS {
	sub, err := fs.Sub(files, "models")
	if err != nil {
		panic(err) // the path is a constant
	}
	return sub
}

// Scene is a held-out picture with the captions that people of the miniature
// world would give it.
type Scene struct {
	File     string
	PNG      []byte
	Captions []string
}

// Test reads the 200 held-out scenes.
func Test() ([]Scene, error) {
	data, err := files.ReadFile("test/captions.json")
	if err != nil {
		return nil, err
	}
	var coco struct {
		Images []struct {
			ID   int
			File string `json:"file_name"`
		}
		Annotations []struct {
			Image   int `json:"image_id"`
			Caption string
		}
	}
	if err := json.Unmarshal(data, &coco); err != nil {
		return nil, fmt.Errorf("captions.json: %w", err)
	}
	scenes, at := make([]Scene, len(coco.Images)), map[int]int{}
	for i, m := range coco.Images {
		at[m.ID], scenes[i].File = i, m.File
		if scenes[i].PNG, err = files.ReadFile("test/" + m.File); err != nil {
			return nil, err
		}
	}
	for _, c := range coco.Annotations {
		i, ok := at[c.Image]
		if !ok {
			return nil, fmt.Errorf("captions.json: a caption of picture %d, which is not there", c.Image)
		}
		scenes[i].Captions = append(scenes[i].Captions, c.Caption)
	}
	return scenes, nil
}
