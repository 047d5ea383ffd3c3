package main

import (
	"bytes"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/nets/pixels"
	"parley/nets/pixels/parameters"
	"parley/output"
)

// TestNextNumber: drawings go behind all that a folder has, and behind what another run
// puts there meanwhile.
func TestNextNumber(t *testing.T) {
	dir := t.TempDir()
	taken := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	taken("99-00.png") // which names sort behind the next
	taken("100-03.png")
	taken("7-1.png")
	d, err := newDrawings(dir, 2, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	black := pixels.New(8, 8, color.RGBA{A: 255})
	for _, c := range []struct {
		job   job
		taken string
		want  string
	}{{job{j: 1}, "", "101-01.png"}, {job{i: 1}, "102-00.png", "104-00.png"}, {job{i: 2, j: 3}, "", "105-03.png"}} {
		if c.taken != "" {
			taken(c.taken)
		}
		if path, err := d.write(c.job, black, parameters.Drawing{}); err != nil || path != filepath.Join(dir, c.want) {
			t.Errorf("%+v: %s, %v; want %s", c.job, path, err, c.want)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "102-00.png")); err != nil || len(data) > 0 {
		t.Errorf("another run's drawing: %d bytes, %v", len(data), err)
	}
}

// TestLikeOfOthers: each PNG tells its own text and seed; what it was drawn from has to
// be what it was, and a number beyond a flag's range is refused as the flag's is.
func TestLikeOfOthers(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.png"), filepath.Join(dir, "to")
	black := pixels.New(16, 16, color.RGBA{A: 255})
	write := func(path string, m *pixels.Image, d parameters.Drawing) {
		t.Helper()
		f, err := output.Create(path, output.Options{Force: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := parameters.Encode(f, m, d); err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	write(from, black, parameters.Drawing{})
	code, _, errs := call(t, "draw", "--steps", "2", "-k", "2", "--seed", "7", "--from", from, "--out", to, "a cat", "a dog")
	if code != 0 {
		t.Fatal(errs)
	}
	for name, want := range map[string]parameters.Drawing{
		"00-00.png": {Prompt: "a cat", Seed: 7}, "00-01.png": {Prompt: "a cat", Seed: 8},
		"01-00.png": {Prompt: "a dog", Seed: 7}, "01-01.png": {Prompt: "a dog", Seed: 8},
	} {
		if have, err := parameters.ReadFile(filepath.Join(to, name)); err != nil || have.Prompt != want.Prompt || have.Seed != want.Seed {
			t.Errorf("%s: %q, seed %d, %v", name, have.Prompt, have.Seed, err)
		}
	}
	like := filepath.Join(to, "01-01.png")
	again := []string{"draw", "--like", like, "--out", filepath.Join(dir, "again")}
	if code, _, errs := call(t, again...); code != 0 {
		t.Error(errs)
	}
	write(from, pixels.New(16, 16, color.RGBA{9, 9, 9, 255}), parameters.Drawing{})
	if code, _, errs := call(t, again...); code != 1 || !strings.Contains(errs, "another "+from) {
		t.Errorf("from another picture: code %d, %s", code, errs)
	}
	if code, _, errs := call(t, append(again, "--from", from)...); code != 0 {
		t.Errorf("a picture that is named: %s", errs)
	}
	if err := os.Remove(from); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call(t, again...); code != 1 || !strings.Contains(errs, "name that picture with --from") {
		t.Errorf("from what is gone: code %d, %s", code, errs)
	}
	mask := filepath.Join(dir, "mask.png")
	write(from, black, parameters.Drawing{})
	write(mask, black, parameters.Drawing{})
	to = filepath.Join(dir, "masked.png")
	if code, _, errs := call(t, "draw", "--steps", "2", "--from", from, "--mask", mask, "--out", to, "a cat"); code != 0 {
		t.Fatal(errs)
	}
	same := filepath.Join(dir, "same.png")
	if code, _, errs := call(t, "draw", "--like", to, "--out", same); code != 0 {
		t.Error(errs)
	}
	one, err := pixels.Read(to)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := pixels.Read(same); err != nil || !bytes.Equal(one.Pix, two.Pix) {
		t.Errorf("drawn with the same mask: %v", err)
	}
	write(mask, pixels.New(16, 16, color.RGBA{9, 9, 9, 255}), parameters.Drawing{})
	if code, _, errs := call(t, "draw", "--like", to, "--out", filepath.Join(dir, "other")); code != 1 ||
		!strings.Contains(errs, "name the picture with --mask") {
		t.Errorf("another mask: code %d, %s", code, errs)
	}
	if code, _, errs := call(t, "draw", "--mask", mask, "a cat"); code != 2 || !strings.Contains(errs, "--mask is for a drawing") {
		t.Errorf("a mask alone: code %d, %s", code, errs)
	}
	far := filepath.Join(dir, "far.png")
	write(far, black, parameters.Drawing{Prompt: "x", Steps: 1001, Guidance: 1, Width: 16, Height: 16, Sampler: "ddim"})
	if code, _, errs := call(t, "draw", "--like", far, "--out", filepath.Join(dir, "far")); code == 0 ||
		!strings.Contains(errs, "--steps 1001: want 1 to 1000") {
		t.Errorf("of 1001 steps: code %d, %s", code, errs)
	}
}

// TestSeedOnce: the last of several seeds counts, and a random one alone is told.
func TestSeedOnce(t *testing.T) {
	for _, c := range []struct {
		args string
		told bool
	}{{"--seed -1 --seed 5", false}, {"--seed 5 --seed -1", true}} {
		args := append([]string{"draw", "--steps", "1", "--width", "16", "--height", "16", "--out", t.TempDir(), "x"}, strings.Fields(c.args)...)
		if code, _, errs := call(t, args...); code != 0 || strings.Contains(errs, "the seed is") != c.told {
			t.Errorf("%s: code %d, %q", c.args, code, errs)
		}
	}
}
