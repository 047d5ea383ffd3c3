// Package mini embeds a BLIP, a Stable Diffusion and a CLIP of miniature size,
// trained on a small world of emoji scenes, so that everything runs with no
// download. models/ is in Hugging Face's layout, f16.
package mini

import (
	"embed"
	"io/fs"
)

//go:embed models
var files embed.FS

// FS holds blip/, clip/ and sd/.
func FS() fs.FS {
	sub, err := fs.Sub(files, "models")
	if err != nil {
		panic(err) // the path is a constant
	}
	return sub
}
