package parameters

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image/color"
	"reflect"
	"strings"
	"testing"

	"parley/nets/pixels"
)

// TestForeign: texts as AUTOMATIC1111's web UI and its relatives write them.
func TestForeign(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Drawing
	}{
		{"plain", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 123, Size: 512x768, Model hash: 6ce0161689, Model: v1-5",
			Drawing{Prompt: "a cat", Steps: 20, Sampler: "euler-a", Scheduler: "euler-a", Guidance: 7, Seed: 123, Width: 512, Height: 768}},
		{"lines", "a cat,\nat night\nNegative prompt: lowres,\nblurry\nSteps: 30, Sampler: DPM++ 2M Karras, CFG scale: 4.5, Seed: 9, Size: 64x64",
			Drawing{Prompt: "a cat,\nat night", NegativePrompt: "lowres,\nblurry", Steps: 30, Sampler: "dpmpp2m-karras",
				Scheduler: "dpmpp2m-karras", Guidance: 4.5, Seed: 9, Width: 64, Height: 64}},
		{"schedule apart", "x\nSteps: 5, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 2, Seed: 1, Size: 8x8, Version: v1.9.0",
			Drawing{Prompt: "x", Steps: 5, Sampler: "dpmpp2m-karras", Scheduler: "dpmpp2m-karras", Guidance: 2, Seed: 1, Width: 8, Height: 8,
				Program: "v1.9.0"}},
		{"no prompt", "Steps: 1, Sampler: DDIM, Seed: 0, Size: 8x8",
			Drawing{Steps: 1, Sampler: "ddim", Scheduler: "ddim", Guidance: 7, Width: 8, Height: 8}},
		{"negative alone", "\nNegative prompt: dog\nSteps: 1, Sampler: LCM, CFG scale: 1, Seed: 0, Size: 8x8",
			Drawing{NegativePrompt: "dog", Steps: 1, Sampler: "lcm", Scheduler: "lcm", Guidance: 1, Width: 8, Height: 8}},
		{"clip skip", "x\nSteps: 1, Sampler: PLMS, CFG scale: 1, Seed: 18446744073709551615, Size: 8x8, Denoising strength: 0.4, Clip skip: 2",
			Drawing{Prompt: "x", Steps: 1, Sampler: "pndm", Scheduler: "pndm", Guidance: 1, Seed: 1<<64 - 1, Width: 8, Height: 8, Strength: 0.4,
				ClipSkip: 1}},
		{"carriage returns", "a cat\r\nNegative prompt: dog\r\nSteps: 2, Sampler: Euler, CFG scale: 3, Seed: 4, Size: 8x8\r\n",
			Drawing{Prompt: "a cat", NegativePrompt: "dog", Steps: 2, Sampler: "euler", Scheduler: "euler", Guidance: 3, Seed: 4, Width: 8,
				Height: 8}},
		{"what is not followed", "x\nSteps: 1, Sampler: Euler, Schedule type: Karras, CFG scale: 1, Seed: 1, Size: 8x8, Hires upscale: 2, " +
			`Lora hashes: "a: 1, b: \"2\"", ENSD: 31337`,
			Drawing{Prompt: "x", Steps: 1, Sampler: "euler", Scheduler: "euler", Guidance: 1, Seed: 1, Width: 8, Height: 8,
				Unread: []string{"Schedule type: Karras", "Hires upscale: 2", `Lora hashes: a: 1, b: "2"`, "ENSD: 31337"}}},
		{"a prompt like parameters", "Steps: 3, of stone\nNegative prompt: Negative prompt: x\nSteps: 1, Sampler: Euler, Seed: 1, Size: 8x8",
			Drawing{Prompt: "Steps: 3, of stone", NegativePrompt: "Negative prompt: x", Steps: 1, Sampler: "euler", Scheduler: "euler", Guidance: 7,
				Seed: 1, Width: 8, Height: 8}},
	} {
		if have, err := Parse(c.text); err != nil || !reflect.DeepEqual(have, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, have, err, c.want)
		}
	}
	for text, want := range map[string]string{
		"":                                       "no line of parameters",
		"a cat":                                  "no line of parameters",
		"x\nSteps: many, Sampler: Euler":         "Steps",
		"x\nSteps: 1, Sampler: Heun":             `"Heun" is none of Parley's`,
		"x\nSteps: 1, Sampler: Euler, Seed: -1":  "Seed",
		"x\nSteps: 1, Sampler: Euler, Size: big": "Size",
		"x\nSteps: 1, Sampler: \"Euler":          "Sampler",
	} {
		if d, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, error %v, want one with %s", text, d, err, want)
		}
	}
}

// drawing has something in every field that is kept.
func drawing() Drawing {
	return Drawing{Prompt: "two cats, \"here\"\nand there", NegativePrompt: "naïve 猫", Steps: 7, Sampler: "dpmpp2m-karras",
		Scheduler: "dpmpp2m-karras",
		Guidance:  2.25, Seed: 1<<64 - 1, Width: 96, Height: 64, ClipSkip: 1, LongPrompt: "chunks", VAETiling: "on", Precision: "exact",
		Init: "a.png", InitSHA256: "00", InitICC: true, Strength: 0.3, Program: "parley"}
}

// TestBack: what is written is read.
func TestBack(t *testing.T) {
	want := drawing()
	m := pixels.New(3, 2, color.RGBA{1, 2, 3, 255})
	var b bytes.Buffer
	if err := Encode(&b, m, want); err != nil {
		t.Fatal(err)
	}
	if have, err := Read(bytes.NewReader(b.Bytes())); err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("%+v, %v; want %+v", have, err, want)
	}
	if have, err := pixels.Decode(bytes.NewReader(b.Bytes())); err != nil || !bytes.Equal(have.Pix, m.Pix) {
		t.Errorf("another picture: %v", err)
	}
	// The web UI's text alone has what the web UI knows.
	texts, err := readTexts(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	want.LongPrompt, want.VAETiling, want.Precision, want.Init, want.InitSHA256, want.InitICC = "", "", "", "", "", false
	if have, err := Parse(texts[webChunk]); err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("%+v, %v; want %+v", have, err, want)
	}
	b.Reset()
	if err := m.EncodePNG(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&b); !errors.Is(err, ErrNone) {
		t.Errorf("a PNG that says nothing: %v", err)
	}
}

// chunk is a chunk of a PNG.
func chunk(kind, data string) string {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(out, kind+data...)
	return string(binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE([]byte(kind+data))))
}

func deflated(s string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.String()
}

// TestChunks: the kinds of text chunks that PNG has, and what is wrong with some.
func TestChunks(t *testing.T) {
	const text = "caf\xe9\nSteps: 1, Sampler: Euler, Seed: 1, Size: 8x8"
	utf8 := strings.ReplaceAll(text, "\xe9", "é")
	end := chunk("IEND", "")
	for name, c := range map[string]struct{ file, prompt, err string }{
		"tEXt":        {chunk("tEXt", "parameters\x00"+text) + end, "café", ""},
		"zTXt":        {chunk("zTXt", "parameters\x00\x00"+deflated(text)) + end, "café", ""},
		"iTXt":        {chunk("iTXt", "parameters\x00\x00\x00en\x00x\x00"+utf8) + end, "café", ""},
		"packed iTXt": {chunk("iTXt", "parameters\x00\x01\x00\x00\x00"+deflated(utf8)) + end, "café", ""},
		"behind others": {chunk("IHDR", "") + chunk("tEXt", "Comment\x00x") + chunk("IDAT", "") + chunk("tEXt", "parameters\x00"+text) + end,
			"café", ""},
		"the first counts":     {chunk("tEXt", "parameters\x00"+text) + chunk("tEXt", "parameters\x00no") + end, "café", ""},
		"none":                 {chunk("tEXt", "Comment\x00x") + end, "", "does not tell"},
		"no end":               {chunk("tEXt", "Comment\x00x"), "", "cut short"},
		"no keyword":           {chunk("tEXt", "parameters") + end, "", "not a keyword"},
		"of another packing":   {chunk("zTXt", "parameters\x00\x01"+deflated(text)) + end, "", "not a keyword"},
		"iTXt without its key": {chunk("iTXt", "parameters\x00\x00\x00en") + end, "", "not a keyword"},
		"damaged":              {chunk("zTXt", "parameters\x00\x00"+deflated(text)[:9]) + end, "", "zTXt"},
		"changed":              {strings.Replace(chunk("tEXt", "parameters\x00"+text), "caf", "kaf", 1) + end, "", "a damaged text chunk"},
		"large":                {chunk("tEXt", "x\x00"+strings.Repeat("x", maxText)) + end, "", "at most"},
		"large when unpacked":  {chunk("zTXt", "x\x00\x00"+deflated(strings.Repeat("x", maxText+1))) + end, "", "more than"},
		"not JSON":             {chunk("tEXt", "parley\x00{") + end, "", "\"parley\""},
	} {
		d, err := Read(strings.NewReader(signature + c.file))
		if c.err == "" && (err != nil || d.Prompt != c.prompt) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q, error %v; want %q, %q", name, d.Prompt, err, c.prompt, c.err)
		}
	}
	if _, err := Read(strings.NewReader("\xff\xd8\xff")); err == nil || !strings.Contains(err.Error(), "not a PNG") {
		t.Errorf("a JPEG: %v", err)
	}
}

// FuzzParse: no text breaks the reader, and what is read and written comes back.
func FuzzParse(f *testing.F) {
	f.Add("a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 123, Size: 512x768, Clip skip: 2")
	f.Add(drawing().String())
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil || d.Sampler == "" || strings.Contains(d.Prompt, strings.TrimSpace(negative)) || d.ClipSkip < 0 {
			return
		}
		d.Prompt, d.NegativePrompt, d.Unread = "x", "y", nil
		d.Scheduler, d.Strength, d.Program = d.Sampler, 0, ""
		if again, err := Parse(d.String()); err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%+v comes back as %+v, %v", d, again, err)
		}
	})
}

// FuzzRead: no file breaks the reader.
func FuzzRead(f *testing.F) {
	f.Add([]byte(signature + chunk("zTXt", "parameters\x00\x00"+deflated("x")) + chunk("IEND", "")))
	f.Add([]byte(signature + chunk("iTXt", "parley\x00\x01\x00\x00\x00"+deflated("{}")) + chunk("IEND", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Read(bytes.NewReader(data)); err != nil && err.Error() == "" {
			t.Fatal("an error without a word")
		}
	})
}
