package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"parley/nets/pixels"
)

// TestLimits: every flag that is a number has a range, which the help states.
func TestLimits(t *testing.T) {
	all, n := limits(), 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !numeric(f) {
				return
			}
			n++
			if _, ok := all[f.Name]; !ok || !strings.Contains(f.Usage, "[") {
				t.Errorf("%s: --%s has no range: %s", c.CommandPath(), f.Name, f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(command(&checked{Writer: new(bytes.Buffer)}, new(bytes.Buffer)))
	if n < 30 {
		t.Errorf("%d numbers alone", n)
	}
}

// TestAbsurdNumbers are refused before a model is looked for.
func TestAbsurdNumbers(t *testing.T) {
	for _, args := range []string{"caption x --beam 1000000", "caption x --beam 9223372036854775807", "caption x --temperature 1e-300",
		"caption x --threads 9223372036854775807",
		"score x --text y --threads 1000000", "draw x --width 1000000", "draw x --height 9",
		"forward pipeline --model m --in i --height 1000000", "reconstruct image x --drawings 1000",
		"caption x -k 10001", "caption x -k 65 --beam 3", "draw x --steps 1001", "draw x --seed -2", "draw x --seed 18446744073709551616",
		"draw x --steps 99999999999999999999",
		"caption x --top-p nan", "caption x --repetition-penalty inf", "tokenize --clip x --length 1"} {
		code, _, errs := call(t, append(strings.Fields(args), "--models", "/nowhere")...)
		if want := args != "draw x --height 9"; want != (code == 2) || strings.Contains(errs, "fault") {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
	code, _, errs := call(t, "draw", "--seed", "-1", "--steps", "1", "--out", t.TempDir(), "x")
	if code != 0 || !strings.Contains(errs, "the seed is ") {
		t.Errorf("a random seed: code %d, %s", code, errs)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFullDisk(t *testing.T) {
	png := scene(t, 7)
	for _, args := range []string{"caption " + png, "caption --json " + png, "embed " + png, "score " + png + " --text x",
		"tokenize --clip x", "tokenize --jsonl --bert x", "doctor", "--help", "--version"} {
		var errs bytes.Buffer
		if code := run(context.Background(), strings.Fields(args), full{}, &errs); code != 1 || !strings.HasSuffix(errs.String(),
			"parley: no space left\n") {
			t.Errorf("%s: code %d, %s", args, code, errs.String())
		}
	}
}

func TestVersionFlag(t *testing.T) {
	if code, out, _ := call(t, "--version"); code != 0 || !strings.HasPrefix(out, "parley ") {
		t.Errorf("code %d, %s", code, out)
	}
}

func TestSidecar(t *testing.T) {
	data, err := os.ReadFile(scene(t, 7))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"a.png", "b.png", "b.jpg"} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(name, want string) {
		t.Helper()
		if have, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(have) != want {
			t.Errorf("%s: %q, %v; want %q", name, have, err, want)
		}
	}
	_, caption, _ := call(t, "caption", filepath.Join(dir, "a.png"))
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("mine\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	// What is there stays; two pictures do not write one file.
	code, _, errs := call(t, "caption", "--sidecar", dir)
	if code != 1 || !strings.Contains(errs, "a.txt exists") || !strings.Contains(errs, "another picture") {
		t.Errorf("code %d, %s", code, errs)
	}
	holds("a.txt", "mine\n")
	holds("b.txt", caption)
	left := filepath.Join(dir, ".parley-"+strings.Repeat("0a", 16)+".part")
	if err := os.WriteFile(left, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	code, out, errs := call(t, "caption", "--sidecar", "--skip-existing", dir)
	if code != 0 || out != "" {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	if code, _, errs := call(t, "caption", "--sidecar", "--force", filepath.Join(dir, "a.png")); code != 0 {
		t.Error(errs)
	}
	holds("a.txt", caption)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed run has left: %v", err)
	}
	if code, _, errs := call(t, "caption", "--sidecar", "--sidecar-ext", "caption", "-k", "2", filepath.Join(dir, "a.png")); code != 0 {
		t.Error(errs)
	}
	if two, _ := os.ReadFile(filepath.Join(dir, "a.caption")); strings.Count(string(two), "\n") != 2 {
		t.Errorf("a.caption: %q", two)
	}
	if code, _, _ := call(t, "caption", "--sidecar", "--sidecar-ext", ".png", dir); code != 2 {
		t.Errorf("captions over pictures: code %d", code)
	}
}

// TestEarlierRuns: no picture of an earlier run is written over unasked.
func TestEarlierRuns(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if code, _, errs := call(t, "draw", "--steps", "1", "-k", "2", "--out", dir, "a cat"); code != 0 {
			t.Fatal(errs)
		}
	}
	_, out, _ := call(t, "draw", "--steps", "1", "--out", dir, "a dog")
	if want := filepath.Join(dir, "02-00.png") + "\n"; out != want {
		t.Errorf("have %s, want %s", out, want)
	}
	cat := filepath.Join(dir, "deep", "cat.png")
	for i, force := range []string{"", "", "--force"} {
		args := strings.Fields("draw --steps 1 x --out " + cat + " " + force)
		if code, _, errs := call(t, args...); code != i%2 {
			t.Errorf("%v: code %d, %s", args, code, errs)
		}
	}
	loop := []string{"reconstruct", "text", "-k", "1", "--steps", "1", "x", "--out"}
	if code, _, errs := call(t, append(loop, dir)...); code != 1 || !strings.Contains(errs, "--force") {
		t.Errorf("code %d, %s", code, errs)
	}
	again := t.TempDir()
	demo := []string{"demo", "-k", "1", "--steps", "1", "--out", again}
	for range 2 {
		if code, _, errs := call(t, demo...); code != 0 {
			t.Error(errs)
		}
	}
	if code, _, errs := call(t, append(loop, again)...); code != 1 {
		t.Errorf("code %d, %s", code, errs)
	}
}

// TestLike: a PNG's parameters draw it again, to the byte.
func TestLike(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a.png"), filepath.Join(t.TempDir(), "b.png")
	// With every option that changes a drawing.
	if code, _, errs := call(t, "draw", "--steps", "4", "--seed", "9", "--negative", "naïve 猫", "--scheduler", "ddim", "--width", "96",
		"--height",
		"80", "--guidance", "3.5", "--clip-skip", "1", "--long-prompt", "chunks", "--vae-tiling", "on", "--precision", "exact", "--from",
		"../../nets/pixels/testdata/files/wide.png", "--icc", "--strength", "0.6", "--out", a, "two (cats:1.2), \"here\"\nand there"); code != 0 {
		t.Fatal(errs)
	}
	if code, _, errs := call(t, "draw", "--like", a, "--out", b); code != 0 {
		t.Fatal(errs)
	}
	x, _ := os.ReadFile(a)
	y, _ := os.ReadFile(b)
	if len(x) == 0 || !bytes.Equal(x, y) {
		t.Error("another file")
	}
	// Another program's: what is not followed is told.
	dir := t.TempDir()
	a = filepath.Join(dir, "theirs.png")
	text := "parameters\x00a cat\nSteps: 1, Sampler: Euler, CFG scale: 2, Seed: 1, Size: 64x64, Hires upscale: 2, Model: x"
	chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), "tEXt"+text...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	var plain bytes.Buffer
	if err := pixels.New(8, 8, color.RGBA{A: 255}).EncodePNG(&plain); err != nil {
		t.Fatal(err)
	}
	data := slices.Concat(plain.Bytes()[:33], chunk, plain.Bytes()[33:])
	if err := os.WriteFile(a, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call(t, "draw", "--like", a, "--out", filepath.Join(dir, "ours.png")); code != 0 ||
		!strings.Contains(errs, "not followed: Hires upscale: 2\n") {
		t.Errorf("code %d, %s", code, errs)
	}
}

// numeric are the flag types that need a limit.
func numeric(f *pflag.Flag) bool {
	return slices.Contains([]string{"int", "uint64", "float64"}, f.Value.Type())
}
