package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"parley/nets/pixels"
)

// immich registers the CLIP service of Immich's machine learning: a form of entries (what
// is wanted) with an image or a text; the embedding comes as a string of JSON.
func (s *Server) immich() {
	s.route("GET /ping", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "pong") })
	s.handle("POST /predict", func(r *http.Request) (any, error) {
		form, err := s.form(r)
		if err != nil {
			return nil, err
		}
		defer form.RemoveAll()
		// {"clip": {"visual" or "textual": {"modelName": …}}}
		var entries map[string]map[string]struct {
			Model   string         `json:"modelName"`
			Options map[string]any `json:"options"`
		}
		if len(form.Value["entries"]) != 1 {
			return nil, wrong("entries", "is needed")
		}
		data := []byte(form.Value["entries"][0])
		if name := twice(data); name != "" {
			return nil, wrong("entries", "%s comes twice", name)
		}
		if err := json.Unmarshal(data, &entries); err != nil {
			return nil, wrong("entries", "%v", err)
		}
		for task := range entries {
			if task != "clip" {
				return nil, wrong("entries", "%q is not done here, but clip", task)
			}
		}
		towers := entries["clip"]
		if len(towers) != 1 {
			return nil, wrong("entries", "want one of visual and textual of clip")
		}
		for tower, e := range towers {
			if e.Model != s.o.Names.CLIP && !same(e.Model, s.o.Names.CLIP) {
				return nil, known(e.Model, s.o.Names.CLIP)
			}
			var in input
			out := map[string]any{}
			switch tower {
			case "visual":
				if len(form.File["image"]) != 1 {
					return nil, wrong("image", "is needed")
				}
				f, err := form.File["image"][0].Open()
				if err != nil {
					return nil, err
				}
				defer f.Close()
				if in.image, err = s.decodePicture("image", f, pixels.Options{}); err != nil {
					return nil, err
				}
				out["imageHeight"], out["imageWidth"] = in.image.H, in.image.W
			case "textual":
				if len(form.Value["text"]) != 1 || form.Value["text"][0] == "" {
					return nil, wrong("text", "is needed")
				}
				if in.text = form.Value["text"][0]; len(in.text) > s.o.Text {
					return nil, wrong("text", "a text has at most %d bytes", s.o.Text)
				}
			default:
				return nil, wrong("entries", "%q: want visual or textual", tower)
			}
			rows, err := s.embed(r, []input{in})
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(rows[0])
			if err != nil {
				return nil, fmt.Errorf("an embedding: %w", err)
			}
			out["clip"] = string(text)
			return out, nil
		}
		return nil, nil
	})
}

// same compares what Immich and a hub call a model: ViT-B-32__openai, openai/clip-vit-base-patch32.
func same(immich, hub string) bool {
	known := map[string]string{"ViT-B-32__openai": "clip-b32", "ViT-L-14__openai": "clip-l14"}
	return known[immich] == hub || strings.EqualFold(immich, hub)
}
