package hub

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"parley/weights"
)

// parts are the folders of a Stable Diffusion that are opened, and the configuration
// that each must have.
var parts = [][2]string{
	{"unet", "config.json"}, {"vae", "config.json"}, {"text_encoder", "config.json"},
	{"scheduler", "scheduler_config.json"}, {"tokenizer", ""},
}

// Needed picks those of a repository's files that a model is opened from, in their
// order: configurations, vocabularies, and weights of one format and of a variant as
// weights.OpenVariant takes them.
func Needed(repo Repo, files []string, variant string) ([]string, error) {
	if repo.File != "" {
		if !slices.Contains(files, repo.File) {
			return nil, fmt.Errorf("%s has no file %s", repo.ID, repo.File)
		}
		return []string{repo.File}, nil
	}
	in := map[string][]string{}
	for _, f := range files {
		dir := path.Dir(f)
		in[dir] = append(in[dir], path.Base(f))
	}
	var needed []string
	take := func(dir string, all bool) error {
		shown := repo.ID
		if dir != "." {
			shown += "/" + dir
		}
		keep, err := weights.Files(shown, in[dir], variant)
		if err != nil && all {
			return err
		}
		for _, f := range in[dir] {
			ext := path.Ext(f)
			about := ext == ".txt" || ext == ".json" && !strings.Contains(f, ".index.") && !strings.HasPrefix(f, "flax_")
			if about && !strings.HasPrefix(f, "README") || all && slices.Contains(keep, f) {
				needed = append(needed, path.Join(dir, f))
			}
		}
		return nil
	}
	if !slices.Contains(in["."], "model_index.json") {
		err := take(".", true)
		return needed, err
	}
	needed = append(needed, "model_index.json")
	for _, p := range parts {
		dir, config := p[0], p[1]
		if len(in[dir]) == 0 {
			return nil, fmt.Errorf("%s: no %s: there is no folder %s/", repo, dir, dir)
		}
		if config != "" && !slices.Contains(in[dir], config) {
			return nil, fmt.Errorf("%s: there is no %s/%s", repo, dir, config)
		}
		if err := take(dir, config == "config.json"); err != nil {
			return nil, err
		}
	}
	return needed, nil
}
