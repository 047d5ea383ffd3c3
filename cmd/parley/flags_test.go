package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image/color"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"parley/engine"
	"parley/engine/host"
	"parley/nets/pixels"
	"parley/weights/mini"
	"parley/weights/safetensors"
)

// outcome is what a call of the program comes to.
type outcome struct {
	code      int
	out, errs string
	files     map[string]string        // what it has written to its folder
	pictures  map[string]*pixels.Image // those of them that are pictures
}

// told is all of it that a flag may change.
func (o outcome) told() string {
	var b strings.Builder
	fmt.Fprintln(&b, o.code, o.out)
	for _, name := range slices.Sorted(maps.Keys(o.files)) {
		if m := o.pictures[name]; m != nil { // how it was drawn is no part of it
			fmt.Fprintf(&b, "%s %d x %d %x\n", name, m.W, m.H, sha256.Sum256(m.Pix))
		} else if !strings.HasPrefix(name, "result") { // these tell the time
			fmt.Fprintln(&b, name, o.files[name])
		}
	}
	return b.String()
}

// words are those of the captions of an outcome, a line each.
func (o outcome) lines() []string { return strings.Split(strings.TrimSpace(o.out), "\n") }

// flagRow is how a flag changes what a command does. In its arguments {F} is a
// folder with the test's files, {O} an empty one, {M} the miniature models, {W}
// parley/weights; ~ is a space.
type flagRow struct {
	base string // a call without the flag
	set  string // the flag, which is put behind it
	like string // another call that has to come to the same
	want string // what it has to print, if anything
	code int
	// check says what else has to hold; without it and want, the outcome has to be
	// another than the base's.
	check func(base, have outcome) bool
}

// bench is where the rows' calls are made.
type flagBench struct {
	t     *testing.T
	files string
	done  map[string]outcome // by arguments
}

func (b *flagBench) call(args string) outcome {
	if o, ok := b.done[args]; ok {
		return o
	}
	dir := b.t.TempDir()
	var list []string
	for _, a := range strings.Fields(args) {
		list = append(list, strings.NewReplacer("{F}", b.files, "{O}", dir, "{M}", "../../weights/mini/models", "{W}", "../../weights", "~",
			" ").Replace(a))
	}
	var out, errs bytes.Buffer
	o := outcome{code: runOn(context.Background(), list, strings.NewReader("one line\n"), &out, &errs), files: map[string]string{},
		pictures: map[string]*pixels.Image{}}
	o.out, o.errs = strings.ReplaceAll(out.String(), dir, "{O}"), errs.String()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name := strings.TrimPrefix(path, dir+"/")
		o.files[name] = string(data)
		if strings.HasSuffix(name, ".png") {
			if o.pictures[name], err = pixels.Read(path); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.done[args] = o
	return o
}

// size holds where the only picture has so many pixels.
func size(w, h int) func(base, have outcome) bool {
	return func(_, have outcome) bool {
		m := have.pictures["00-00.png"]
		return m != nil && m.W == w && m.H == h
	}
}

// tooLarge holds where a picture is refused for its size, with the flag that says so.
func tooLarge(base, have outcome) bool {
	return base.code == 0 && strings.Contains(have.errs, "at most 100 are read; --max-pixels")
}

// has holds where these files are written, and the base's are not.
func has(names ...string) func(base, have outcome) bool {
	return func(base, have outcome) bool {
		for _, n := range names {
			if _, ok := have.files[n]; !ok || base.files[n] != "" {
				return false
			}
		}
		return true
	}
}

// flagRows has a row for every flag of every command.
func flagRows() map[string]flagRow {
	const (
		caption  = "caption {F}/pics"
		sampled  = "caption {F}/pics --top-k 150"
		draw     = "draw --steps 1 --out {O} a~cat~at~night"
		generate = "forward blip-generate --model {M}/blip --in {F}/generate.safetensors --out {O}/out.safetensors"
		pipeline = "forward pipeline --steps 2 --model {M}/sd --in {F}/ids.safetensors --out {O}/out.safetensors"
		metrics  = "metrics --hyp {F}/hyp.txt --refs {F}/ref.txt"
		toy      = "embed --json {F}/a.png --clip {W}/convert/testdata/openai_clip.pt"
	)
	sameFirst := func(base, have outcome) bool { // -k 1 and -k 2
		return len(have.pictures) == 2 && bytes.Equal(base.pictures["00-00.png"].Pix, have.pictures["00-00.png"].Pix)
	}
	rows := map[string]flagRow{
		"parley json": {base: "tokenize --clip cat", set: "--json", check: func(_, have outcome) bool { return json.Valid([]byte(have.out)) }},
		"parley jsonl": {base: caption, set: "--jsonl", check: func(_, have outcome) bool {
			return len(have.lines()) == 2 && have.out[0] == '{' && json.Valid([]byte(have.lines()[1]))
		}},
		"parley models": {base: "embed --json {F}/a.png", set: "--models {F}/toy", like: "embed --json {F}/a.png --clip {F}/toy/clip"},
		"parley clip":   {base: "embed --json {F}/a.png", set: "--clip {F}/toy/clip", like: "embed --json {F}/a.png --models {F}/toy"},
		"parley blip":   {base: "caption --json {F}/a.png", set: "--blip {F}/blip16"},
		"parley sd":     {base: draw, set: "--sd {F}/sd16"},
		"parley device": {base: "embed {F}/a.png", set: "--device cuda:99", code: 1, check: func(_, have outcome) bool {
			return strings.Contains(have.errs, "CUDA") || strings.Contains(have.errs, "cuda:99")
		}},
		// Of a net's output as it is: pixels may hide it. What has other methods than the plain one is the convolution.
		"parley precision": {base: pipeline + " --precision exact", set: "--precision f32", check: func(base, have outcome) bool {
			const file = "out.safetensors"
			return len(have.files[file]) == len(base.files[file]) && have.files[file] != base.files[file]
		}},
		"parley threads": {base: "doctor --json", set: "--threads 3", want: `"threads": 3`},
		"parley variant": {base: "embed --json {F}/a.png --clip {F}/variants", set: "--variant fp16",
			like: "embed --json {F}/a.png --clip {F}/clip16"},
		"parley clip-act":        {base: toy, set: "--clip-act quick_gelu"},
		"parley clip-head-width": {base: toy, set: "--clip-head-width 4"},

		"caption beam":        {base: sampled, set: "--beam 1", like: "caption {F}/pics --top-k 1 --repetition-penalty 1"},
		"caption top-k":       {base: sampled, set: "--top-k 1", like: "caption {F}/pics --top-p 0.0001"},
		"caption top-p":       {base: sampled, set: "--top-p 0.0001", like: "caption {F}/pics --top-k 1"},
		"caption temperature": {base: sampled, set: "--temperature 3"},
		"caption repetition-penalty": {base: caption + " --beam 1", set: "--repetition-penalty 5", like: caption +
			" --top-k 1 --repetition-penalty 5"},
		"caption seed": {base: sampled, set: "--seed 5"},
		"caption k": {base: sampled + " -k 2", set: "-k 4", check: func(base, have outcome) bool {
			return len(have.lines()) == 8 && slices.Equal(base.lines()[:2], have.lines()[:2])
		}},
		"caption min-length": {base: caption, set: "--min-length 18", check: func(base, have outcome) bool {
			return shortest(have) >= 18-4 && shortest(base) < 18-4
		}},
		"caption max-length": {base: caption, set: "--max-length 7", check: func(base, have outcome) bool {
			return longest(base) > 3 &&
				longest(have) <= 7-4
		}},
		"caption prompt": {base: caption, set: "--prompt two", check: func(_,
			have outcome) bool {
			return !strings.Contains(have.out, ": two")
		}},
		"caption keep-prompt": {base: caption + " --prompt two", set: "--keep-prompt", check: func(_,
			have outcome) bool {
			return strings.Count(have.out, ": two ") == 2
		}},
		"caption prefix": {base: caption, set: "--prefix X~", check: func(base, have outcome) bool {
			return strings.ReplaceAll(have.out, ": X ", ": ") == base.out && base.out != have.out
		}},
		"caption recursive": {base: caption, set: "--recursive", check: func(base, have outcome) bool {
			return len(base.lines()) == 2 &&
				len(have.lines()) == 3
		}},

		"draw steps":      {base: "draw --out {O} a~cat~at~night", set: "--steps 1", like: draw},
		"draw guidance":   {base: draw, set: "--guidance 9"},
		"draw scheduler":  {base: draw, set: "--scheduler ddim"},
		"draw negative":   {base: draw, set: "--negative a~red~apple"},
		"draw prediction": {base: draw, set: "--prediction sample"},
		"draw width":      {base: draw, set: "--width 96", check: size(96, 64)},
		"draw height":     {base: draw, set: "--height 96", check: size(64, 96)},
		"draw k":          {base: draw + " --precision exact", set: "-k 2", check: sameFirst},
		"draw seed": {base: draw + " -k 2", set: "--seed 1", check: func(base, have outcome) bool {
			return bytes.Equal(base.pictures["00-01.png"].Pix, have.pictures["00-00.png"].Pix)
		}},
		"draw out":       {base: draw, set: "--out {O}/deep/cat.png", check: has("deep/cat.png")},
		"draw force":     {base: draw + " --out {F}/force.png", set: "--force", check: func(base, have outcome) bool { return base.code == 1 }},
		"draw from":      {base: draw + " --strength 1", set: "--from {F}/a.png"},
		"draw strength":  {base: draw + " --steps 4 --from {F}/a.png", set: "--strength 0.3"},
		"draw mask":      {base: draw + " --steps 4 --from {F}/a.png", set: "--mask {F}/mask.png"},
		"draw from-file": {base: draw, set: "--from-file {F}/texts.txt", check: has("01-00.png", "02-00.png")},
		"draw like":      {base: draw + " --seed 1", set: "--like {F}/like.png --seed 0", like: draw + " --negative dog"},

		"draw clip-skip":   {base: draw, set: "--clip-skip 1"},
		"draw long-prompt": {base: draw + "~(under~the~stars:1.9)", set: "--long-prompt chunks"},
		"draw vae":         {base: draw, set: "--vae {F}/sd16"},
		"draw vae-tiling":  {base: draw + " --width 264 --height 264", set: "--vae-tiling on"},
		"draw embedding":   {base: draw + "~zorp", set: "--embedding zorp={F}/zorp.safetensors"},
		"draw clean":       {base: draw + "~&amp;amp;~dog", set: "--clean openai"},
		"embed clean":      {base: "embed --text &amp;amp;", set: "--clean openai"},
		"score clean":      {base: "score --json {F}/a.png --text &amp;amp;", set: "--clean openai"},
		"tokenize clean":   {base: "tokenize --clip &amp;amp;", set: "--clean openai"},

		"embed text":      {base: "embed {F}/a.png", set: "--text a~cat", want: "a cat\t128 numbers"},
		"embed pooled":    {base: "embed {F}/a.png", set: "--pooled"},
		"embed recursive": {base: "embed {F}/pics", set: "--recursive", want: "c.png"},
		"score text": {base: "score --json {F}/a.png --text x", set: "--text y", check: func(base, have outcome) bool {
			return len(scoresOf(have)) == 1 && len(scoresOf(have)[0]) == 2 && scoresOf(have)[0][0] == scoresOf(base)[0][0]
		}},
		"score recursive": {base: "score {F}/pics --text x", set: "--recursive", want: "c.png"},

		"embed icc":          {base: "embed --json {F}/wide.png", set: "--icc"},
		"score icc":          {base: "score --json {F}/wide.png --text x", set: "--icc"},
		"caption icc":        {base: "caption --json {F}/wide.png", set: "--icc"},
		"draw icc":           {base: draw + " --from {F}/wide.png --steps 4 --strength 0.3", set: "--icc"},
		"embed max-pixels":   {base: "embed {F}/pics", set: "--max-pixels 100", code: 1, check: tooLarge},
		"score max-pixels":   {base: "score {F}/pics --text x", set: "--max-pixels 100", code: 1, check: tooLarge},
		"caption max-pixels": {base: caption, set: "--max-pixels 100", code: 1, check: tooLarge},
		"draw max-pixels":    {base: draw + " --from {F}/a.png --steps 4", set: "--max-pixels 100", code: 1, check: tooLarge},

		"tokenize clip":   {base: "tokenize a~photo", set: "--clip", want: "[49406 320 1125 49407]"},
		"tokenize bert":   {base: "tokenize a~photo", set: "--bert", want: "[101 1037 6302 102]"},
		"tokenize length": {base: "tokenize --clip a~photo", set: "--length 3", want: "[49406 320 49407]"},

		"convert dtype": {base: "convert {M}/clip {O}/x", set: "--dtype f32", check: func(base, have outcome) bool {
			return len(have.files["x/model.safetensors"]) > len(base.files["x/model.safetensors"])*3/2
		}},
		"convert prediction": {base: "convert {W}/convert/testdata/ldm_sd2.ckpt {O}/x", set: "--prediction v_prediction",
			check: func(base, have outcome) bool {
				return strings.Contains(have.files["x/scheduler/scheduler_config.json"], "v_prediction") &&
					!strings.Contains(base.files["x/scheduler/scheduler_config.json"], "v_prediction")
			}},

		"metrics hyp":  {base: metrics, set: "--hyp {F}/ref.txt"},
		"metrics refs": {base: metrics, set: "--refs {F}/hyp.txt"},
		"metrics each": {base: metrics + " --json", set: "--each", check: func(base,
			have outcome) bool {
			return len(have.out) > len(base.out)
		}},
		"metrics tokenized":   {base: metrics, set: "--tokenized"},
		"metrics sbert":       {base: metrics, set: "--sbert ../../nets/testdata/sbert", want: "SBERT   "},
		"metrics vectors":     {base: metrics, set: "--vectors {F}/vectors.txt", want: "WMD   "},
		"metrics stop-words":  {base: metrics + " --vectors {F}/vectors.txt", set: "--stop-words"},
		"metrics images":      {base: "metrics --hyp {F}/captions.jsonl --refs {F}/captions.tsv", set: "--images {F}/pics", want: "RefCLIPScore"},
		"metrics meteor-data": {base: metrics, set: "--meteor-data ../../bench/score/testdata/meteor", want: "METEOR   "},

		"forward model": {base: pipeline, set: "--model {F}/sd16"},
		"forward in":    {base: pipeline, set: "--in {F}/ids2.safetensors"},
		"forward out":   {base: pipeline, set: "--out {O}/other.safetensors", check: has("other.safetensors")},
		"forward force": {base: pipeline + " --out {F}/force.txt", set: "--force", check: func(base,
			have outcome) bool {
			return base.code == 1
		}},
		"forward taps": {base: pipeline, set: "--taps conv_in", check: func(_,
			have outcome) bool {
			return strings.Contains(have.files["out.safetensors"], "tap.")
		}},
		"forward repeat":             {base: pipeline, set: "--repeat 2", want: "runs"},
		"forward seed":               {base: pipeline, set: "--seed 4"},
		"forward steps":              {base: pipeline, set: "--steps 3"},
		"forward guidance":           {base: pipeline, set: "--guidance 2"},
		"forward scheduler":          {base: pipeline, set: "--scheduler euler"},
		"forward prediction":         {base: pipeline, set: "--prediction sample"},
		"forward width":              {base: pipeline, set: "--width 96", want: "image [1 3 64 96]"},
		"forward height":             {base: pipeline, set: "--height 96", want: "image [1 3 96 64]"},
		"forward beam":               {base: generate, set: "--beam 4"},
		"forward sample":             {base: generate + " --top-p 1 --seed 3", set: "--sample"},
		"forward top-p":              {base: generate + " --sample", set: "--top-p 0.0001", like: generate},
		"forward repetition-penalty": {base: generate, set: "--repetition-penalty 9"},
		"forward clip-skip":          {base: pipeline, set: "--clip-skip 1"},
		"forward vae-tiling":         {base: pipeline + " --width 264 --height 264", set: "--vae-tiling on"},
		"forward length-penalty":     {base: generate + " --beam 4", set: "--length-penalty -9"},
		"forward early-stopping":     {base: generate + " --beam 4 --length-penalty 9", set: "--early-stopping"},
		"forward max-length":         {base: generate, set: "--max-length 6", want: "sequences [2 6]"},
		"forward min-length":         {base: generate, set: "--min-length 20", want: "sequences [2 20]"},
	}
	for _, loop := range []struct{ name, base string }{
		{"reconstruct image", "reconstruct image {F}/a.png -k 2 --steps 1 --out {O}"},
		{"reconstruct text", "reconstruct text two~red~apples -k 2 --steps 1 --out {O}"},
		{"demo", "demo -k 2 --steps 1 --out {O}"},
	} {
		add := func(flag string, r flagRow) {
			if r.base == "" {
				r.base = loop.base
			}
			rows[loop.name+" "+flag] = r
		}
		add("steps", flagRow{set: "--steps 2"})
		add("guidance", flagRow{set: "--guidance 9"})
		add("scheduler", flagRow{set: "--scheduler ddim"})
		add("negative", flagRow{set: "--negative a~red~apple"})
		add("prediction", flagRow{set: "--prediction sample"})
		add("width", flagRow{set: "--width 96", check: size(96, 64)})
		add("height", flagRow{set: "--height 96", check: size(64, 96)})
		add("seed", flagRow{set: "--seed 3"})
		add("k", flagRow{set: "-k 3", check: has("00-02.png")})
		add("out", flagRow{set: "--out {O}/deep", check: has("deep/00-01.png", "deep/sheet.png", "deep/result.json")})
		add("force", flagRow{base: loop.base + " --out {F}/earlier", set: "--force", check: func(base,
			have outcome) bool {
			return base.code == 1
		}})
		add("clip-skip", flagRow{set: "--clip-skip 1"})
		add("vae", flagRow{set: "--vae {F}/sd16"})
		add("vae-tiling", flagRow{base: loop.base + " -k 1 --width 264 --height 264", set: "--vae-tiling on"})
		add("embedding", flagRow{base: loop.base + " --negative zorp", set: "--embedding zorp={F}/zorp.safetensors"})
		add("clean", flagRow{base: loop.base + " --negative dog~&amp;amp;~cat", set: "--clean openai"})
		add("long-prompt", flagRow{base: loop.base + " --negative (dog:1.9)", set: "--long-prompt chunks"})
		add("pooled", flagRow{set: "--pooled"})
		add("beam", flagRow{set: "--beam 2"})
		add("top-k", flagRow{set: "--top-k 1"})
		add("top-p", flagRow{set: "--top-p 0.0001"})
		add("temperature", flagRow{set: "--temperature 9"})
		add("repetition-penalty", flagRow{set: "--repetition-penalty 50"})
		add("min-length", flagRow{base: loop.base + " --max-length 30", set: "--min-length 29"})
		add("max-length", flagRow{set: "--max-length 6"})
		add("prompt", flagRow{set: "--prompt there"})
		add("keep-prompt", flagRow{set: "--keep-prompt", want: "a picture of "})
		if loop.name == "reconstruct text" {
			continue
		}
		add("drawings", flagRow{set: "--drawings 3"})
		add("redraw-duplicates", flagRow{base: loop.base + " --top-k 1", set: "--redraw-duplicates"})
	}
	rows["reconstruct text min-length"] = flagRow{base: "reconstruct text two~red~apples -k 1 --steps 8 --out {O}", set: "--min-length 19"}
	rows["reconstruct image icc"] = flagRow{base: "reconstruct image {F}/wide.png -k 1 --steps 1 --json --out {O}", set: "--icc"}
	rows["reconstruct image max-pixels"] = flagRow{base: "reconstruct image {F}/a.png -k 1 --steps 1 --out {O}", set: "--max-pixels 100",
		code: 1, check: tooLarge}
	rows["reconstruct image recursive"] = flagRow{base: "reconstruct image {F}/pics -k 1 --steps 1 --out {O}", set: "--recursive",
		want: "c.png"}
	rows["reconstruct text from-file"] = flagRow{base: "reconstruct text a~cat -k 1 --steps 1 --out {O}", set: "--from-file {F}/texts.txt",
		check: has("01-00.png", "02-00.png")}
	maps.Copy(rows, evalRows())
	maps.Copy(rows, benchRows())
	return rows
}

// TestForwardGenerates: the seed is sampling's, too, and no length penalty is one of 0.
func TestForwardGenerates(t *testing.T) {
	b := &flagBench{t: t, files: flagFiles(t), done: map[string]outcome{}}
	const base = "forward blip-generate --model {M}/blip --in {F}/generate.safetensors --out {O}/out.safetensors "
	told := func(flags string) string {
		o := b.call(base + flags)
		if o.code != 0 {
			t.Fatalf("%s: code %d, %s", flags, o.code, o.errs)
		}
		return o.told()
	}
	if told("--sample --top-p 1 --seed 3") == told("--sample --top-p 1 --seed 4") {
		t.Error("--seed changes nothing")
	}
	none := told("--beam 4 --min-length 12 --max-length 25 --length-penalty 0")
	if none != told("--beam 4 --min-length 12 --max-length 25 --length-penalty 1e-9") {
		t.Error("a length penalty of 0 is not the least")
	}
	if none == told("--beam 4 --min-length 12 --max-length 25 --length-penalty 1") {
		t.Error("a length penalty of 0 is one of 1")
	}
}

// captionsOf are the captions behind the names of files.
func captionsOf(o outcome) (out []string) {
	for _, l := range o.lines() {
		out = append(out, l[strings.Index(l, ": ")+2:])
	}
	return out
}

func shortest(o outcome) int {
	n := math.MaxInt
	for _, c := range captionsOf(o) {
		n = min(n, len(strings.Fields(c)))
	}
	return n
}

func longest(o outcome) int {
	n := 0
	for _, c := range captionsOf(o) {
		n = max(n, len(strings.Fields(c)))
	}
	return n
}

func scoresOf(o outcome) [][]float64 {
	var v struct{ Scores [][]float64 }
	if json.Unmarshal([]byte(o.out), &v) != nil {
		return nil
	}
	return v.Scores
}

// elsewhere are flags that other tests hold, by their names.
func elsewhere() map[string]string {
	held := map[string]string{
		"parley version":        "TestVersionFlag",
		"caption sidecar":       "TestSidecar",
		"caption sidecar-ext":   "TestSidecar",
		"caption skip-existing": "TestSidecar",
		"caption force":         "TestSidecar",
		"fid inception":         "TestFID",
		"fid recursive":         "TestFID",
		"fid icc":               "TestFID",
		"fid max-pixels":        "TestFID",
		"parley tuning":         "TestTuning",
		"bench baseline":        "TestBaseline",
		"bench fail-over":       "TestBaseline",
		"bench history html":    "TestBenchHistory",
		"bench history depth":   "TestBenchHistory",
		"bench history least":   "TestBenchHistory",
		"bench history force":   "TestBenchHistory",
		"bench diff depth":      "TestBenchDiff",
		"bench diff least":      "TestBenchDiff",
		"bench diff all":        "TestBenchDiff",
		"bench diff width":      "TestBenchDiff",
		"bench compare width":   "TestBenchCompare",
		"bench diff fail-over":  "TestBenchDiff",
		"bench diff old":        "TestBenchTurns",
		"bench diff new":        "TestBenchTurns",
		"bench diff turns":      "TestBenchTurns",
	}
	for _, flag := range []string{"key-file", "max-n", "max-steps", "max-body", "max-pixels", "max-prompt", "queue", "batch", "cors",
		"deadline", "jobs", "keep-jobs"} {
		held["serve "+flag] = "TestServe"
	}
	held["serve listen"], held["serve grace"] = "TestServeRefuses", "TestServeStops"
	maps.Copy(held, evalElsewhere())
	return held
}

// TestFlags: every flag of every command changes the result as it should.
func TestFlags(t *testing.T) {
	rows, other := flagRows(), elsewhere()
	root := command(&checked{Writer: new(bytes.Buffer)}, new(bytes.Buffer))
	root.InitDefaultCompletionCmd()
	left := maps.Clone(rows)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		name := strings.TrimPrefix(c.CommandPath(), "parley ")
		flags := c.LocalFlags()
		flags.VisitAll(func(f *pflag.Flag) {
			key := name + " " + f.Name
			if f.Name == "help" || c.Name() == "completion" || c.HasParent() && c.Parent().Name() == "completion" {
				return
			}
			if _, ok := other[key]; ok {
				delete(left, key)
				return
			}
			if _, ok := rows[key]; !ok {
				t.Errorf("%s: --%s has no row in flagRows", name, f.Name)
			}
			delete(left, key)
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for key := range left {
		t.Errorf("%s: there is no such flag", key)
	}
	b := &flagBench{t: t, files: flagFiles(t), done: map[string]outcome{}}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		r := rows[key]
		if _, ok := other[key]; ok {
			continue
		}
		t.Run(key, func(t *testing.T) {
			base, have := b.call(r.base), b.call(r.base+" "+r.set)
			if have.code != r.code {
				t.Fatalf("%s %s: code %d, %s", r.base, r.set, have.code, have.errs)
			}
			if r.check == nil && base.told() == have.told() {
				t.Errorf("%s changes nothing of %s: %.500s", r.set, r.base, have.out)
			}
			if r.check != nil && !r.check(base, have) {
				t.Errorf("%s %s: not what it should be: %.500s %s", r.base, r.set, have.out, have.errs)
			}
			if r.want != "" && (strings.Contains(base.out, r.want) || !strings.Contains(have.out, r.want)) {
				t.Errorf("%s %s: %q is wanted, and not without the flag: %.500s", r.base, r.set, r.want, have.out)
			}
			if r.like != "" {
				if like := b.call(r.like); like.told() != have.told() {
					t.Errorf("%s %s: %.500s\nand %s: %.500s", r.base, r.set, have.out, r.like, like.out)
				}
			}
		})
	}
}

// flagFiles makes what the rows name.
func flagFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("a.png", scenes[7].PNG)
	write("pics/a.png", scenes[7].PNG)
	write("pics/b.png", scenes[12].PNG)
	write("pics/sub/c.png", scenes[9].PNG)
	mask := pixels.New(1, 2, color.RGBA{}) // white above, black below
	copy(mask.Pix, []uint8{255, 255, 255})
	if err := mask.SavePNG(filepath.Join(dir, "mask.png")); err != nil {
		t.Fatal(err)
	}
	wide, err := os.ReadFile("../../nets/pixels/testdata/files/wide.png")
	if err != nil {
		t.Fatal(err)
	}
	write("wide.png", wide)
	write("pairs.tsv", []byte("pics/a.png\ta dog\npics/b.png\ttwo cats\n"))
	write("list/set.jsonl", []byte(`{"image": "a.png", "text": "a dog"}`+"\n"))
	write("texts.txt", []byte("a dog\n\ntwo cats\n"))
	write("hyp.txt", []byte("a dog sits, on the grass\ntwo cats\n"))
	write("ref.txt", []byte("a dog sits on grass\ntwo black cats\n"))
	write("captions.jsonl", []byte(`{"id": "a.png", "caption": "a cat"}`+"\n"+`{"id": "b.png", "caption": "two apples"}`+"\n"))
	write("captions.tsv", []byte("a.png\ta dog\nb.png\ttwo red apples\n"))
	write("vectors.txt", []byte("dog 1 0\ngrass 0 1\non 1 1\nthe -1 0\ntwo 0.5 0.5\ncats 1 0.5\n"))
	zorp := make([]float32, 2*128) // two words of the miniature's text encoder
	for i := range zorp {
		zorp[i] = float32(i%7) - 3
	}
	write("zorp.safetensors", tensorFile(t, safetensors.Tensor{Name: "emb_params", DType: "F32", Shape: []int{2, 128},
		Data: engine.FromF32(zorp, len(zorp)).Memory().Host}))
	write("force.png", []byte("not a picture"))
	write("force.txt", []byte("not tensors"))
	write("earlier/00-00.png", scenes[7].PNG)
	if err := os.Mkdir(filepath.Join(dir, "toy"), 0o777); err != nil {
		t.Fatal(err)
	}
	ids := func(name string, word int64) {
		row := make([]int64, 32)
		for i := range row {
			row[i] = 784
		}
		row[0], row[1], row[2] = 783, 320, word
		write(name, tensorFile(t, i64("input_ids", []int{1, 32}, row), i64("negative_ids", []int{1, 32},
			append([]int64{783}, slices.Repeat([]int64{784}, 31)...))))
	}
	ids("ids.safetensors", 400)
	ids("ids2.safetensors", 500)
	var pictures []byte
	for _, n := range []int{7, 12} {
		m, err := pixels.Decode(bytes.NewReader(scenes[n].PNG))
		if err != nil {
			t.Fatal(err)
		}
		m = m.Resize(64, 64, pixels.Bicubic)
		for c := range 3 {
			for i := range 64 * 64 {
				v := (float32(m.Pix[3*i+c])/255 - 0.45) / 0.27
				pictures = binary.LittleEndian.AppendUint32(pictures, math.Float32bits(v))
			}
		}
	}
	write("generate.safetensors", tensorFile(t, safetensors.Tensor{Name: "pixel_values", DType: "F32", Shape: []int{2, 3, 64, 64},
		Data: pictures},
		i64("input_ids", []int{2, 2}, []int64{220, 5, 220, 5})))
	for _, args := range []string{
		"convert ../../weights/convert/testdata/openai_clip.pt {F}/toy/clip",
		"convert ../../weights/mini/models/clip {F}/clip16 --dtype bf16",
		"convert ../../weights/mini/models/blip {F}/blip16 --dtype bf16",
		"convert ../../weights/mini/models/sd {F}/sd16 --dtype bf16",
		"convert ../../weights/mini/models/clip {F}/variants",
		"draw --steps 1 --negative dog a~cat~at~night --out {F}/like.png",
	} {
		list := strings.Fields(strings.ReplaceAll(args, "{F}", dir))
		for i, a := range list {
			list[i] = strings.ReplaceAll(a, "~", " ")
		}
		if code, _, errs := call(t, list...); code != 0 {
			t.Fatalf("%s: %s", args, errs)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "clip16/model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	write("variants/model.fp16.safetensors", data)
	return dir
}

func i64(name string, shape []int, values []int64) safetensors.Tensor {
	e := safetensors.Tensor{Name: name, DType: "I64", Shape: shape}
	for _, v := range values {
		e.Data = binary.LittleEndian.AppendUint64(e.Data, uint64(v))
	}
	return e
}

func tensorFile(t *testing.T, list ...safetensors.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := safetensors.Write(&b, list, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestThreads: --threads is how many the CPU's device has.
func TestThreads(t *testing.T) {
	a := &app{device: "cpu", threads: 3}
	d, err := a.open()
	if err != nil {
		t.Fatal(err)
	}
	if n := d.(*host.Device).Workers(); n != 3 {
		t.Errorf("%d threads, want 3", n)
	}
}
