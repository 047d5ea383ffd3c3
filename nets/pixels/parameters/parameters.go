// Package parameters keeps in a drawing's PNG file how it was made: as JSON, in
// a text chunk "parley", and in the text chunk "parameters" that AUTOMATIC1111's
// web UI made the custom.
package parameters

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"parley/nets/pixels"
)

// Drawing is how a picture was drawn. Of which model is not said: the same
// options with equal weights give equal files, whatever the weights are called.
type Drawing struct {
	Prompt         string  `json:"prompt"`
	NegativePrompt string  `json:"negative_prompt"`
	Steps          int     `json:"steps"`
	Sampler        string  `json:"sampler"`             // one of schedule.Kinds
	Scheduler      string  `json:"scheduler,omitempty"` // the same, where it was not the checkpoint's own
	Guidance       float64 `json:"guidance"`
	Seed           uint64  `json:"seed"`
	Width          int     `json:"width"`
	Height         int     `json:"height"`
	ClipSkip       int     `json:"clip_skip,omitempty"`   // as diffusers counts
	LongPrompt     string  `json:"long_prompt,omitempty"` // where it is not cut
	VAETiling      string  `json:"vae_tiling,omitempty"`
	Precision      string  `json:"precision,omitempty"` // where one was asked for
	// Init is the picture that it was drawn from, with the SHA-256 of the file.
	Init       string  `json:"init_image,omitempty"`
	InitSHA256 string  `json:"init_image_sha256,omitempty"`
	InitICC    bool    `json:"init_image_icc,omitempty"` // its colours were converted to sRGB
	Strength   float64 `json:"strength,omitempty"`
	// Mask is the picture that is white where Init was drawn anew, with the SHA-256 of
	// the file.
	Mask       string `json:"mask,omitempty"`
	MaskSHA256 string `json:"mask_sha256,omitempty"`
	Program    string `json:"program,omitempty"`
	// Unread is what another program says of its drawing and has no place here, as
	// "Hires upscale: 2".
	Unread []string `json:"-"`
}

// Keywords of the text chunks.
const (
	jsonChunk = "parley"
	webChunk  = "parameters"
)

// Encode writes a picture as a PNG that tells how it was drawn.
func Encode(w io.Writer, m *pixels.Image, d Drawing) error {
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return encode(w, m, []text{{webChunk, d.String()}, {jsonChunk, string(data)}})
}

// ErrNone is a PNG that does not tell how it was drawn.
var ErrNone = errors.New("the file does not tell how it was drawn: no text chunk \"parameters\" or \"parley\"")

// ReadFile tells how the picture in a PNG file was drawn, by Parley or another
// program that keeps AUTOMATIC1111's custom.
func ReadFile(path string) (Drawing, error) {
	f, err := os.Open(path)
	if err != nil {
		return Drawing{}, err
	}
	defer f.Close()
	d, err := Read(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return d, err
}

// Read is ReadFile of a PNG. ErrNone: it does not tell.
func Read(r io.Reader) (Drawing, error) {
	texts, err := readTexts(r)
	if err != nil {
		return Drawing{}, err
	}
	if t, ok := texts[jsonChunk]; ok {
		var d Drawing
		if err := json.Unmarshal([]byte(t), &d); err != nil {
			return d, fmt.Errorf("text chunk %q: %w", jsonChunk, err)
		}
		return d, nil
	}
	t, ok := texts[webChunk]
	if !ok {
		return Drawing{}, ErrNone
	}
	d, err := Parse(t)
	if err != nil {
		err = fmt.Errorf("text chunk %q: %w", webChunk, err)
	}
	return d, err
}

// samplers are AUTOMATIC1111's names of schedule.Kinds.
var samplers = [][2]string{{"pndm", "PLMS"}, {"ddim", "DDIM"}, {"euler", "Euler"}, {"euler-a", "Euler a"},
	{"dpmpp2m", "DPM++ 2M"}, {"dpmpp2m-karras", "DPM++ 2M Karras"}, {"unipc", "UniPC"}, {"lcm", "LCM"}}

// SamplerName is what the web UI calls one of schedule.Kinds.
func SamplerName(kind string) string {
	for _, s := range samplers {
		if s[0] == kind {
			return s[1]
		}
	}
	return kind
}

// SamplerKind is the one of schedule.Kinds that the web UI, or we, call so.
func SamplerKind(name string) (kind string, ok bool) {
	for _, s := range samplers {
		if strings.EqualFold(s[1], name) || s[0] == name {
			return s[0], true
		}
	}
	return "", false
}

const negative = "Negative prompt: "

// String is AUTOMATIC1111's text.
func (d Drawing) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, d.Prompt)
	if d.NegativePrompt != "" {
		fmt.Fprintln(&b, negative+d.NegativePrompt)
	}
	fmt.Fprintf(&b, "Steps: %d, Sampler: %s, CFG scale: %v, Seed: %d, Size: %dx%d", d.Steps, quote(SamplerName(d.Sampler)), d.Guidance,
		d.Seed, d.Width,
		d.Height)
	if d.ClipSkip > 0 {
		fmt.Fprintf(&b, ", Clip skip: %d", d.ClipSkip+1)
	}
	if d.Init != "" {
		fmt.Fprintf(&b, ", Denoising strength: %v", d.Strength)
	}
	if d.Program != "" {
		fmt.Fprintf(&b, ", Version: %s", quote(d.Program))
	}
	return b.String()
}

// quote writes a value as JSON where it would not be read as one value.
func quote(s string) string {
	if !strings.ContainsAny(s, ",:\n\"") {
		return s
	}
	data, err := json.Marshal(s)
	if err != nil { // a string always has a JSON form
		panic(err)
	}
	return string(data)
}

var pair = regexp.MustCompile(`\s*([\w][\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)`)

// Parse reads AUTOMATIC1111's text. What it has no word about is zero; noise of
// other programs differs even where the seed is the same.
func Parse(text string) (Drawing, error) {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "\n")
	last := len(lines) - 1
	if !strings.HasPrefix(lines[last], "Steps: ") {
		return Drawing{}, errors.New("no line of parameters (Steps: …) at its end")
	}
	d := Drawing{Guidance: 7} // what it does not write where it is so
	var prompts [2][]string
	side := 0
	for _, l := range lines[:last] {
		if rest, ok := strings.CutPrefix(l, strings.TrimSpace(negative)); ok && side == 0 {
			side, l = 1, strings.TrimPrefix(rest, " ")
		}
		prompts[side] = append(prompts[side], l)
	}
	d.Prompt, d.NegativePrompt = strings.Join(prompts[0], "\n"), strings.Join(prompts[1], "\n")
	for _, m := range pair.FindAllStringSubmatch(lines[last], -1) {
		if err := d.set(m[1], strings.TrimSpace(m[2])); err != nil {
			return Drawing{}, fmt.Errorf("%s: %w", m[1], err)
		}
	}
	return d, nil
}

func (d *Drawing) set(key, value string) (err error) {
	if strings.HasPrefix(value, `"`) {
		if err := json.Unmarshal([]byte(value), &value); err != nil {
			return err
		}
	}
	switch key {
	case "Steps":
		d.Steps, err = strconv.Atoi(value)
	case "Sampler":
		d.Sampler, _ = SamplerKind(value)
		if d.Scheduler = d.Sampler; d.Sampler == "" {
			return fmt.Errorf("the sampler %q is none of Parley's: choose one with --scheduler", value)
		}
	case "Schedule type": // newer versions tell it apart
		switch {
		case value == "Karras" && d.Sampler == "dpmpp2m":
			d.Sampler += "-karras"
			d.Scheduler = d.Sampler
		case value != "Automatic" && (value != "Karras" || d.Sampler != "dpmpp2m-karras"):
			d.Unread = append(d.Unread, key+": "+value)
		}
	case "CFG scale":
		d.Guidance, err = strconv.ParseFloat(value, 64)
	case "Seed":
		d.Seed, err = strconv.ParseUint(value, 10, 64)
	case "Size":
		_, err = fmt.Sscanf(value, "%dx%d", &d.Width, &d.Height)
	case "Denoising strength":
		d.Strength, err = strconv.ParseFloat(value, 64)
	case "Clip skip": // counted from 1
		if d.ClipSkip, err = strconv.Atoi(value); d.ClipSkip > 0 {
			d.ClipSkip--
		}
	case "Version":
		d.Program = value
	case "Model", "Model hash": // the caller's, as ever
	default:
		d.Unread = append(d.Unread, key+": "+value)
	}
	return err
}
