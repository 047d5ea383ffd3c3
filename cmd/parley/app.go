package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"parley/bench/tuning"
	"parley/engine"
	"parley/engine/device"
	"parley/engine/host"
	"parley/kernels/simd"
	"parley/nets/models"
	"parley/weights"
	"parley/weights/convert"
	"parley/weights/hub"
	"parley/weights/vocab"
)

// app is what all commands share: the global flags, and the device.
type app struct {
	noted                          []string // see note
	out                            *checked
	errs                           io.Writer
	json, jsonl                    bool // json: either
	models, blip, sd, clip, device string
	variant, precision, tuning     string
	assume                         convert.Assume
	clean                          vocab.Cleaning
	threads                        int
	dev                            engine.Device
}

func (a *app) open() (engine.Device, error) { return a.openWith(device.Options{}) }

func (a *app) openWith(o device.Options) (engine.Device, error) {
	if a.dev != nil {
		return a.dev, nil
	}
	if err := a.instructions(); err != nil {
		return nil, err
	}
	o.Threads, o.Precision = a.threads, a.precision
	d, err := device.Open(a.device, o)
	var unknown *device.UnknownError
	if errors.As(err, &unknown) {
		return nil, usageError{err}
	}
	if err == nil && a.tuning != "" {
		d, err = a.tuned(d, o)
	}
	a.dev = d
	return d, err
}

// instructions refuses a set of them that has no such name, and tells of one that is not
// to be had.
func (a *app) instructions() error {
	want := os.Getenv("PARLEY_SIMD")
	switch have := simd.Active().String(); want {
	case "", have:
	case "go", "avx2", "avx512", "amx":
		a.note(fmt.Sprintf("PARLEY_SIMD=%s: this machine has %s, which is used", want, have))
	default:
		return usage("PARLEY_SIMD=%s: choose one of go, avx2, avx512, amx", want)
	}
	return nil
}

// tuned is the device with what the file of --tuning chooses. A file of another
// machine is passed over with a word.
func (a *app) tuned(d engine.Device, o device.Options) (engine.Device, error) {
	h, ok := host.On(d)
	if !ok {
		a.note("--tuning " + a.tuning + " is for the CPU, and passed over on " + d.Name())
		return d, nil
	}
	choices, err := tuning.Read(a.tuning, tuning.MachineOf(h))
	var stale *tuning.StaleError
	if errors.As(err, &stale) {
		a.note("--tuning: " + err.Error() + "; it is passed over")
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--tuning: %w", err)
	}
	o.Choices = choices
	return device.Open(a.device, o)
}

// source is where one of the models lies.
func (a *app) source(name, own string) (models.Source, error) {
	if flag, path := a.named(name, own); path != "" {
		return a.at(flag, path)
	}
	src := models.Embedded(name)
	src.Clean = a.clean
	return src, nil
}

// named is what the flags call one of the models, and which flag does; "" is the
// embedded one.
func (a *app) named(name, own string) (flag, path string) {
	switch {
	case own != "":
		return "--" + name, own
	case a.models == "":
		return "", ""
	}
	if set := hub.Set(a.models); set != nil {
		if _, err := os.Stat(a.models); err != nil {
			return "--models", set[name]
		}
	}
	return "--models", filepath.Join(a.models, name)
}

// folder is where the files of such a model lie.
func (a *app) folder(flag, name string) (string, error) {
	path, err := found(name)
	if err == nil {
		path, err = weights.Snapshot(path)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return path, nil
}

// at is a checkpoint that a flag names, with what the flags say about it.
func (a *app) at(flag, path string) (models.Source, error) {
	path, err := a.folder(flag, path)
	if err != nil {
		return models.Source{}, err
	}
	src, err := models.At(path)
	if err != nil {
		return src, fmt.Errorf("%s: %w", flag, err)
	}
	src.Note, src.Clean, src.Variant, src.Assume = a.note, a.clean, a.variant, a.assume
	return src, nil
}

// note tells once what was guessed about a checkpoint.
func (a *app) note(text string) {
	if !slices.Contains(a.noted, text) {
		a.noted = append(a.noted, text)
		fmt.Fprintf(a.errs, "parley: %s\n", text)
	}
}

// run is what a command's work carries: its context.
func (a *app) run(cmd *cobra.Command) engine.Run { return engine.NewRun(cmd.Context()) }

// untaken refuses flags of the whole program that a command has one of its own for.
func untaken(cmd *cobra.Command, instead string, flags ...string) error {
	for _, flag := range flags {
		if cmd.Flags().Changed(flag) {
			return usage("--%s: %s takes its checkpoint by %s", flag, cmd.CommandPath(), instead)
		}
	}
	return nil
}

// opened opens one of the models, where its flags say, on the device.
func opened[T any](a *app, name, own string, open func(models.Source, engine.Device) (T, error)) (T, error) {
	return openedFrom(a, func() (models.Source, error) { return a.source(name, own) }, open)
}

// openedAt opens a checkpoint that a flag names, on the device.
func openedAt[T any](a *app, flag, path string, open func(models.Source, engine.Device) (T, error)) (T, error) {
	return openedFrom(a, func() (models.Source, error) { return a.at(flag, path) }, open)
}

func openedFrom[T any](a *app, source func() (models.Source, error), open func(models.Source, engine.Device) (T, error)) (T, error) {
	var none T
	dev, err := a.open()
	if err != nil {
		return none, err
	}
	src, err := source()
	if err != nil {
		return none, err
	}
	return open(src, dev)
}

func (a *app) openBLIP() (*models.BLIP, error) { return opened(a, "blip", a.blip, models.OpenBLIP) }

func (a *app) openSD(x models.Extras) (*models.StableDiffusion, error) {
	return opened(a, "sd", a.sd, func(src models.Source, dev engine.Device) (*models.StableDiffusion, error) {
		if x.VAE != nil {
			x.VAE.Variant, x.VAE.Note = src.Variant, a.note
		}
		return models.OpenStableDiffusionWith(src, dev, x)
	})
}

func (a *app) openCLIP() (*models.CLIP, error) { return opened(a, "clip", a.clip, models.OpenCLIP) }
