package workload

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"parley/bench/random"
	"parley/engine"
	"parley/nets/blip"
	"parley/nets/clip"
	"parley/nets/models"
	"parley/nets/unet"
	"parley/nets/vae"
	"parley/weights"
	"parley/weights/convert"
)

// nets are those of a Set with their configurations; those that its kind does
// not need are nil.
type nets struct {
	unet       *unet.Model
	vae        *vae.Model
	text       *clip.Text
	blip       *blip.Model
	clip       *clip.Model
	unetConfig unet.Config
	textConfig clip.TextConfig
	blipConfig blip.Config
	clipConfig clip.Config
	factor     int // pixels to a latent
}

// has reports whether the kind needs a part.
func (k kind) has(part string) bool { return strings.Contains(k.parts, part) }

// preset is the one of the names that a table has.
func preset[T any](names string, table map[string]T, used map[string]bool) (v T, err error) {
	for name := range strings.SplitSeq(names, ",") {
		if c, ok := table[name]; ok {
			used[name] = true
			return c, nil
		}
	}
	return v, fmt.Errorf("preset %q: want one of %s", names, strings.Join(slices.Sorted(maps.Keys(table)), ", "))
}

// makeRandom makes the nets of the presets. What they do not allow is said before their
// weights are made, which takes seconds.
func (s *Set) makeRandom() (err error) {
	used := map[string]bool{}
	var sd random.Diffusion
	if s.has("u") || s.has("v") || s.has("t") {
		if sd, err = preset(s.Preset, random.Diffusions(), used); err != nil {
			return err
		}
		s.unetConfig, s.textConfig, s.factor = sd.UNet, sd.Text, 1<<(len(sd.VAE.Channels)-1)
	}
	if s.has("b") {
		if s.blipConfig, err = preset(s.Preset, random.BLIPs(), used); err != nil {
			return err
		}
	}
	if s.has("c") {
		if s.clipConfig, err = preset(s.Preset, random.CLIPs(), used); err != nil {
			return err
		}
	}
	for name := range strings.SplitSeq(s.Preset, ",") {
		if !used[name] {
			return fmt.Errorf("preset %q: %s takes nothing of %s", s.Preset, s.Net, name)
		}
	}
	if err := s.size(); err != nil {
		return err
	}
	on, scope := engine.Scope(s.dev)
	s.close = append(s.close, scope.FreeAll)
	if s.has("u") {
		s.unet, err = random.UNet(sd.UNet, on)
	}
	if s.has("v") && err == nil {
		s.vae, err = random.VAE(sd.VAE, on)
	}
	if s.has("t") && err == nil {
		s.text, err = random.Text(sd.Text, on)
	}
	if s.has("b") && err == nil {
		s.blip, err = random.BLIP(s.blipConfig, on)
	}
	if s.has("c") && err == nil {
		s.clip, err = random.CLIP(s.clipConfig, on)
	}
	return err
}

// load reads the nets of a checkpoint. That of a loop is a folder with sd, blip and
// clip in it.
func (s *Set) load() (err error) {
	if s.has("u") {
		s.unet, err = part(s, "sd", "unet", convert.UNet, unet.ParseConfig, &s.unetConfig, unet.New)
	}
	if s.has("v") && err == nil {
		s.vae, err = part(s, "sd", "vae", convert.VAE, vae.ParseConfig, new(vae.Config), vae.New)
	}
	if s.has("t") && err == nil {
		s.text, err = part(s, "sd", "text_encoder", convert.TextEncoder, textConfig, &s.textConfig, clip.NewText)
	}
	if s.has("b") && err == nil {
		s.blip, err = part(s, "blip", "blip", convert.BLIP, blip.ParseConfig, &s.blipConfig, blip.New)
	}
	if s.has("c") && err == nil {
		s.clip, err = part(s, "clip", "clip", convert.CLIP, clip.ParseConfig, &s.clipConfig, clip.New)
	}
	s.factor = 8 // Stable Diffusion's, where no autoencoder says
	if s.vae != nil {
		s.factor = s.vae.Factor
	}
	return err
}

// textConfig reads the text encoder's own configuration, or a whole CLIP's.
func textConfig(c weights.Config) (clip.TextConfig, error) {
	if c.Has("text_config") {
		sub, err := c.Sub("text_config")
		if err != nil {
			return clip.TextConfig{}, err
		}
		c = sub
	}
	return clip.ParseTextConfig(c)
}

// part loads one net and keeps its configuration.
func part[C, M any](s *Set, own, folder, name string, parse func(weights.Config) (C, error), config *C,
	build func(C, *weights.Loader) (M, error)) (net M, err error) {
	path := s.Weights
	if in := filepath.Join(path, own); s.Net == "loop" {
		if _, err := os.Stat(in); err != nil {
			return net, fmt.Errorf("weights of a loop: %w", err)
		}
		path = in
	}
	src, err := models.At(path)
	if err != nil {
		return net, err
	}
	net, free, err := models.Load(src, s.dev, folder, name, func(c weights.Config, l *weights.Loader) (M, error) {
		var err error
		if *config, err = parse(c); err != nil {
			var none M
			return none, err
		}
		return build(*config, l)
	})
	if err == nil {
		s.close = append(s.close, free)
	}
	return net, err
}
