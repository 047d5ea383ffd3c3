package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	stdpng "image/png"
	"io"
	"log"
	"maps"
	"math"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/cmd/serve/jobs"
	"parley/cmd/serve/work"
	"parley/engine"
	"parley/engine/host"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/pixels/inpaint"
	"parley/nets/pixels/parameters"
	"parley/nets/rerank"
	"parley/weights/mini"
)

// world is a server over the miniature models.
type world struct {
	*httptest.Server
	s    *Server
	m    work.Models
	logs *lockedBuffer
	dev  *counted
}

// counted is a device that knows how many of its blocks are held.
type counted struct {
	engine.Device
	blocks atomic.Int64
}

func (c *counted) Unwrap() engine.Device { return c.Device }

func (c *counted) Alloc(n int) (engine.Memory, error) {
	m, err := c.Device.Alloc(n)
	if err == nil {
		c.blocks.Add(1)
	}
	return m, err
}

func (c *counted) Free(m engine.Memory) {
	c.blocks.Add(-1)
	c.Device.Free(m)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func newWorld(t *testing.T, change func(*Options, *work.Limits)) *world {
	t.Helper()
	return newWorldOf(t, change)
}

func newWorldOf(t testing.TB, change func(*Options, *work.Limits)) *world {
	t.Helper()
	dev := &counted{Device: host.New(2)}
	var m work.Models
	var err error
	if m.BLIP, err = models.OpenBLIP(models.Embedded("blip"), dev); err != nil {
		t.Fatal(err)
	}
	if m.SD, err = models.OpenStableDiffusion(models.Embedded("sd"), dev); err != nil {
		t.Fatal(err)
	}
	if m.CLIP, err = models.OpenCLIP(models.Embedded("clip"), dev); err != nil {
		t.Fatal(err)
	}
	m.Device = dev
	w := &world{m: m, logs: &lockedBuffer{}, dev: dev}
	o := Options{Body: 4 << 20, Pixels: 1 << 20, Text: 1000, N: 4, Steps: 50, Deadline: time.Minute, Version: "test",
		Names: Names{"mini-sd", "mini-blip", "mini-clip"}, Log: log.New(w.logs, "", 0)}
	l := work.Limits{Waiting: 64, Batch: 4}
	if change != nil {
		change(&o, &l)
	}
	if o.Jobs == nil {
		if o.Jobs, err = jobs.Open("", 10); err != nil {
			t.Fatal(err)
		}
	}
	w.s = New(o, func(seen work.Watcher) *work.Scheduler { return work.New(m, l, seen) })
	w.Server = httptest.NewServer(w.s)
	t.Cleanup(func() {
		w.Server.Close()
		if err := w.s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		m.BLIP.Close()
		m.SD.Close()
		m.CLIP.Close()
	})
	return w
}

// ask posts JSON, or gets where body is nil.
func (w *world) ask(t *testing.T, path string, body any) (int, string) {
	t.Helper()
	method, data := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		if text, ok := body.(string); ok {
			data = []byte(text)
		} else {
			var err error
			if data, err = json.Marshal(body); err != nil {
				t.Fatal(err)
			}
		}
	}
	req, err := http.NewRequest(method, w.URL+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return w.do(t, req)
}

func (w *world) do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, text := w.answer(t, req)
	return resp.StatusCode, text
}

// answer is what a request gets, its body read.
func (w *world) answer(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(out)
}

// get reads an answer that has to be a success.
func (w *world) get(t *testing.T, path string, body, into any) {
	t.Helper()
	code, text := w.ask(t, path, body)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v in %.200s", path, err, text)
	}
}

// scene is a picture of the miniature world.
func scene(t *testing.T, i int) (png []byte, m *pixels.Image) {
	t.Helper()
	scenes, err := mini.Test()
	if err != nil {
		t.Fatal(err)
	}
	m, err = pixels.Decode(bytes.NewReader(scenes[i].PNG))
	if err != nil {
		t.Fatal(err)
	}
	return scenes[i].PNG, m
}

// drawn is what the model itself draws.
func (w *world) drawn(t *testing.T, prompt string, seed uint64, change func(*models.DrawOptions)) *pixels.Image {
	t.Helper()
	o := w.m.SD.Defaults
	o.Steps = 3
	if change != nil {
		change(&o)
	}
	var m *pixels.Image
	err := w.m.SD.Draw(engine.NewRun(t.Context()), []string{prompt}, []uint64{seed}, o, func(_ int, d rerank.Drawing) {
		if d.Err != nil {
			t.Error(d.Err)
			return
		}
		m, _ = d.Picture.Host()
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// holds compares a picture that came in base64.
func holds(t *testing.T, what, b64 string, want *pixels.Image) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	m, err := pixels.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if m.W != want.W || m.H != want.H || !bytes.Equal(m.Pix, want.Pix) {
		t.Errorf("%s: another picture than the model draws", what)
	}
	return data
}

// TestGenerations: OpenAI's pictures are those that the model draws, in each form.
func TestGenerations(t *testing.T) {
	w := newWorld(t, nil)
	var a struct {
		Created int
		Data    []struct {
			B64  string `json:"b64_json"`
			URL  string
			Seed uint64
		}
	}
	w.get(t, "/v1/images/generations", object{"prompt": "a cat on the grass", "n": 2, "seed": 7, "steps": 3, "response_format": "b64_json",
		"user": "me", "quality": "auto"}, &a)
	if len(a.Data) != 2 || a.Created == 0 || a.Data[1].Seed != 8 {
		t.Fatalf("%+v", a)
	}
	for i, d := range a.Data {
		png := holds(t, "generations", d.B64, w.drawn(t, "a cat on the grass", uint64(7+i), nil))
		how, err := parameters.Read(bytes.NewReader(png))
		if err != nil || how.Seed != uint64(7+i) || how.Steps != 3 || how.Prompt != "a cat on the grass" {
			t.Errorf("the PNG tells %+v, %v", how, err)
		}
	}
	w.get(t, "/v1/images/generations", object{"prompt": "a cat", "seed": 1, "steps": 3, "size": "96x64", "guidance": 2.5, "scheduler": "euler",
		"negative_prompt": "a dog", "response_format": "url"}, &a)
	url := strings.TrimPrefix(a.Data[0].URL, w.URL)
	code, png := w.ask(t, url, nil)
	if code != http.StatusOK || !strings.HasPrefix(url, "/v1/files/") {
		t.Fatalf("%s: %d", url, code)
	}
	holds(t, "by address", base64.StdEncoding.EncodeToString([]byte(png)), w.drawn(t, "a cat", 1, func(o *models.DrawOptions) {
		o.Width, o.Guidance, o.Scheduler, o.Negative = 96, 2.5, "euler", "a dog"
	}))
	w.get(t, "/v1/images/generations", object{"prompt": "a cat", "seed": 1, "steps": 3, "output_format": "webp"}, &a)
	holds(t, "webp", a.Data[0].B64, w.drawn(t, "a cat", 1, nil))
	w.get(t, "/v1/images/generations", object{"prompt": "a cat", "steps": 1, "output_format": "jpeg", "output_compression": 50}, &a)
	if data, _ := base64.StdEncoding.DecodeString(a.Data[0].B64); !bytes.HasPrefix(data, []byte("\xff\xd8\xff")) {
		t.Errorf("no JPEG: %.8q", data)
	}
}

// TestStream: events come with partial pictures, then the finished one.
func TestStream(t *testing.T) {
	w := newWorld(t, nil)
	events := w.events(t, "/v1/images/generations", object{"prompt": "a cat", "n": 2, "seed": 3, "steps": 6, "stream": true,
		"partial_images": 2})
	count := map[string]int{}
	for _, e := range events {
		count[e.name]++
		if e.data["type"] != e.name {
			t.Errorf("%s has type %v", e.name, e.data["type"])
		}
	}
	if count["image_generation.partial_image"] != 4 || count["image_generation.completed"] != 2 || len(count) != 2 {
		t.Errorf("events %v", count)
	}
	last := events[len(events)-1]
	holds(t, "completed", last.data["b64_json"].(string), w.drawn(t, "a cat", 3+uint64(last.data["image_index"].(float64)),
		func(o *models.DrawOptions) { o.Steps = 6 }))
}

// events reads a stream to its end.
func (w *world) events(t *testing.T, path string, body any) (events []event) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(w.URL+path, "application/json", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %d %s", path, resp.StatusCode, text)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<26)
	var e event
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			e.name = name
		} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &e.data); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
			e = event{}
		}
	}
	return events
}

// form is a request of parts.
func (w *world) form(t *testing.T, path string, values map[string]string, files map[string][]byte) (int, string) {
	t.Helper()
	var b bytes.Buffer
	f := multipart.NewWriter(&b)
	for k, v := range values {
		if err := f.WriteField(k, v); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range files {
		part, err := f.CreateFormFile(k, "x.png")
		if err == nil {
			_, err = part.Write(v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	req, err := http.NewRequest(http.MethodPost, w.URL+path, &b)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", f.FormDataContentType())
	return w.do(t, req)
}

// TestEdits: a drawing starts from a picture, by a form; a variation by its caption.
func TestEdits(t *testing.T) {
	w := newWorld(t, nil)
	png, m := scene(t, 7)
	from := func(o *models.DrawOptions) { o.Init, o.Strength = m, 0.7 }
	for path, prompt := range map[string]string{"edits": "a cat", "variations": ""} {
		values := map[string]string{"seed": "5", "steps": "3", "strength": "0.7", "n": "1", "response_format": "b64_json"}
		want := prompt
		if prompt != "" {
			values["prompt"] = prompt
		} else {
			list, err := w.m.BLIP.Caption(engine.NewRun(t.Context()), []pixels.Picture{m}, 1, []uint64{0}, models.Beam())
			if err != nil {
				t.Fatal(err)
			}
			want = list[0][0].Text
		}
		code, text := w.form(t, "/v1/images/"+path, values, map[string][]byte{"image": png})
		var a struct {
			Data []struct {
				B64 string `json:"b64_json"`
			}
		}
		if err := json.Unmarshal([]byte(text), &a); code != 200 || err != nil {
			t.Fatalf("%s: %d %s", path, code, text)
		}
		holds(t, path, a.Data[0].B64, w.drawn(t, want, 5, from))
	}
	for want, change := range map[string]func(map[string]string, map[string][]byte){
		"mask: it is opaque":               func(_ map[string]string, f map[string][]byte) { f["mask"] = png },
		"mask: 3x2 pixels: want those":     func(_ map[string]string, f map[string][]byte) { f["mask"] = transparent(t, 3, 2) },
		"mask: ":                           func(_ map[string]string, f map[string][]byte) { f["mask"] = []byte("no picture") },
		"mask: there is no such parameter": func(v map[string]string, _ map[string][]byte) { v["mask"] = "above" },
		"image: 0 pictures":                func(_ map[string]string, f map[string][]byte) { delete(f, "image") },
		"nose: there is no such parameter": func(v map[string]string, _ map[string][]byte) { v["nose"] = "1" },
		`n: \"many\": want a number`:       func(v map[string]string, _ map[string][]byte) { v["n"] = "many" },
		"strength 0.1 of 1 steps leaves":   func(v map[string]string, _ map[string][]byte) { v["strength"] = "0.1" },
		"strength: 2: want more than 0":    func(v map[string]string, _ map[string][]byte) { v["strength"] = "2" },
		"prompt: is needed":                func(v map[string]string, _ map[string][]byte) { delete(v, "prompt") },
		"image: ":                          func(_ map[string]string, f map[string][]byte) { f["image"] = []byte("no picture") },
	} {
		values, files := map[string]string{"prompt": "a", "steps": "1"}, map[string][]byte{"image": png}
		change(values, files)
		if code, text := w.form(t, "/v1/images/edits", values, files); code != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", want, code, text)
		}
	}
}

// transparent is a PNG whose upper half is transparent, and white all over.
func transparent(t *testing.T, w, h int) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		if m.Pix[i] = 255; i%4 == 3 && i < len(m.Pix)/2 {
			m.Pix[i] = 0
		}
	}
	var b bytes.Buffer
	if err := stdpng.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// halves is a mask that is white above or below.
func halves(w, h int, above bool) *pixels.Image {
	m := pixels.New(w, h, color.RGBA{})
	half := m.Pix[:len(m.Pix)/2]
	if !above {
		half = m.Pix[len(m.Pix)/2:]
	}
	for i := range half {
		half[i] = 255
	}
	return m
}

// TestMasks: OpenAI's is transparent where a picture is drawn anew; AUTOMATIC1111's is
// white there or, where some of it is transparent, opaque. What would change the picture
// otherwise is refused.
func TestMasks(t *testing.T) {
	w := newWorld(t, nil)
	png, m := scene(t, 7)
	want := func(above bool) *pixels.Image {
		return w.drawn(t, "a cat", 5, func(o *models.DrawOptions) {
			o.Init, o.Mask, o.Strength = m, halves(m.W, m.H, above), 0.7
		})
	}
	above, below := want(true), want(false)
	plain := w.drawn(t, "a cat", 5, func(o *models.DrawOptions) { o.Init, o.Strength = m, 0.7 })
	if bytes.Equal(above.Pix, below.Pix) || bytes.Equal(above.Pix, plain.Pix) {
		t.Fatal("a mask changes nothing")
	}
	clear := transparent(t, m.W, m.H)
	code, text := w.form(t, "/v1/images/edits", map[string]string{"prompt": "a cat", "seed": "5", "steps": "3", "strength": "0.7",
		"response_format": "b64_json"}, map[string][]byte{"image": png, "mask": clear})
	var a struct {
		Data []struct {
			B64 string `json:"b64_json"`
		}
	}
	if err := json.Unmarshal([]byte(text), &a); code != 200 || err != nil {
		t.Fatalf("%d %s", code, text)
	}
	holds(t, "edits", a.Data[0].B64, above)
	// Without a mask, what is transparent of the picture is drawn anew.
	part := m.Go()
	for i := range len(part.Pix) / 8 {
		part.Pix[4*i+3] = 0
	}
	var file bytes.Buffer
	if err := stdpng.Encode(&file, part); err != nil {
		t.Fatal(err)
	}
	read, err := pixels.Decode(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	code, text = w.form(t, "/v1/images/edits", map[string]string{"prompt": "a cat", "seed": "5", "steps": "3", "strength": "0.7",
		"response_format": "b64_json"}, map[string][]byte{"image": file.Bytes()})
	if err := json.Unmarshal([]byte(text), &a); code != 200 || err != nil {
		t.Fatalf("%d %s", code, text)
	}
	holds(t, "edits of a transparent picture", a.Data[0].B64, w.drawn(t, "a cat", 5, func(o *models.DrawOptions) {
		o.Init, o.Mask, o.Strength = read, halves(m.W, m.H, true), 0.7
	}))
	grey := pngOf(t, halves(m.W, m.H, true))
	// AUTOMATIC1111's keep what is not drawn anew as it was, to the byte.
	beside := func(drawn *pixels.Image, white bool) *pixels.Image {
		out := &pixels.Image{W: m.W, H: m.H, Pix: slices.Clone(m.Pix)}
		for i, v := range halves(m.W, m.H, white).Pix {
			if v == 255 {
				out.Pix[i] = drawn.Pix[i]
			}
		}
		return out
	}
	above, below = beside(above, true), beside(below, false)
	in64 := base64.StdEncoding.EncodeToString
	black := pngOf(t, pixels.New(m.W, m.H, color.RGBA{}))
	body := func(more object) object {
		b := object{"prompt": "a cat", "seed": 5, "steps": 3, "denoising_strength": 0.7, "init_images": []string{in64(png)},
			"mask_blur": 0, "inpainting_fill": 1, "inpaint_full_res": false, "inpaint_full_res_padding": 32}
		for k, v := range more {
			b[k] = v
		}
		return b
	}
	for name, c := range map[string]struct {
		mask   []byte
		invert int
		want   *pixels.Image
	}{"white": {grey, 0, above}, "black": {grey, 1, below}, "opaque": {clear, 0, below}, "transparent": {clear, 1, above}} {
		var a struct{ Images []string }
		w.get(t, "/sdapi/v1/img2img", body(object{"mask": in64(c.mask), "inpainting_mask_invert": c.invert}), &a)
		if len(a.Images) != 1 {
			t.Fatalf("%s: %d pictures", name, len(a.Images))
		}
		holds(t, name, a.Images[0], c.want)
	}
	for want, more := range map[string]object{
		"mask_blur: string: want a number":             {"mask_blur": "4"},
		"mask_blur: 257: want 0 to 256":                {"mask_blur": 257},
		"mask_blur: -1: want 0":                        {"mask_blur": nil, "mask_blur_x": -1},
		"inpainting_fill: 4: want 0 to 3":              {"inpainting_fill": 4},
		"inpaint_full_res: 2: want true or false":      {"inpaint_full_res": 2},
		"inpaint_full_res_padding: -1: want 0":         {"inpaint_full_res_padding": -1},
		"mask_round: false is not done here":           {"mask_round": false},
		"resize_mode: 3 is not done here":              {"resize_mode": 3},
		"mask: nothing of it is white":                 {"mask": in64(black)},
		"inpainting_mask_invert: 2: want 0 or 1":       {"inpainting_mask_invert": 2},
		"latent_mask: there is no such parameter here": {"latent_mask": in64(clear)},
		"mask: this is no base64":                      {"mask": "#"},
		"mask: ":                                       {"mask": in64([]byte("no picture"))},
	} {
		b := body(object{"mask": in64(clear)})
		for k, v := range more {
			b[k] = v
		}
		if code, text := w.ask(t, "/sdapi/v1/img2img", b); code != 400 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", want, code, text)
		}
	}
	if code, text := w.ask(t, "/sdapi/v1/txt2img", object{"prompt": "a", "mask": in64(clear)}); code != 400 ||
		!strings.Contains(text, "mask: is for img2img") {
		t.Errorf("txt2img: %d %s", code, text)
	}
	// Without a mask, they say nothing.
	if code, text := w.ask(t, "/sdapi/v1/img2img", body(object{"mask_blur": 4, "inpainting_fill": 0, "inpaint_full_res": true})); code != 200 {
		t.Errorf("no mask: %d %s", code, text)
	}
}

// pngOf is a picture's file.
func pngOf(t *testing.T, m *pixels.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.EncodePNG(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWebMasks: without more, AUTOMATIC1111's mask has soft edges and is filled with its
// surroundings, and the masked part alone is drawn; each parameter does what it says.
func TestWebMasks(t *testing.T) {
	w := newWorld(t, nil)
	_, m := scene(t, 7)
	m, err := inpaint.Resize(t.Context(), m, 90, 70, inpaint.Stretch)
	if err != nil {
		t.Fatal(err)
	}
	mask := pixels.New(90, 70, color.RGBA{})
	for y := 20; y < 40; y++ {
		for x := 30; x < 45; x++ {
			copy(mask.Pix[3*(90*y+x):], []uint8{255, 255, 255})
		}
	}
	in64 := base64.StdEncoding.EncodeToString
	defaults := inpaint.Options{W: 32, H: 40, Latent: w.m.SD.VAE.Factor, BlurX: 4, BlurY: 4, Fill: true, OnlyMasked: true}
	seen := map[string]string{}
	for name, c := range map[string]struct {
		body   object
		change func(*inpaint.Options)
		fill   diffusion.Fill
	}{
		"defaults": {},
		"webuiapi": {body: object{"mask_blur": 4, "inpainting_fill": 0, "inpaint_full_res": true, "inpaint_full_res_padding": 0,
			"resize_mode": 0}},
		"padding":   {object{"inpaint_full_res_padding": 9}, func(o *inpaint.Options) { o.Padding = 9 }, ""},
		"blur":      {object{"mask_blur": 1.5}, func(o *inpaint.Options) { o.BlurX, o.BlurY = 1.5, 1.5 }, ""},
		"blur of x": {object{"mask_blur_x": 0}, func(o *inpaint.Options) { o.BlurX = 0 }, ""},
		"blur of y": {object{"mask_blur_y": 0}, func(o *inpaint.Options) { o.BlurY = 0 }, ""},
		"both":      {object{"mask_blur": 2, "mask_blur_y": 9}, func(o *inpaint.Options) { o.BlurX, o.BlurY = 2, 2 }, ""},
		"original":  {object{"inpainting_fill": 1}, func(o *inpaint.Options) { o.Fill = false }, ""},
		"noise":     {object{"inpainting_fill": 2}, func(o *inpaint.Options) { o.Fill = false }, diffusion.FillNoise},
		"nothing":   {object{"inpainting_fill": 3}, func(o *inpaint.Options) { o.Fill = false }, diffusion.FillNothing},
		"whole":     {object{"inpaint_full_res": false}, func(o *inpaint.Options) { o.OnlyMasked = false }, ""},
		"cut": {object{"inpaint_full_res": 0, "resize_mode": 1}, func(o *inpaint.Options) {
			o.OnlyMasked, o.Fit = false, inpaint.Crop
		}, ""},
		"edges": {object{"inpaint_full_res": 0, "resize_mode": 2}, func(o *inpaint.Options) {
			o.OnlyMasked, o.Fit = false, inpaint.Pad
		}, ""},
	} {
		o := defaults
		if c.change != nil {
			c.change(&o)
		}
		p, err := inpaint.Prepare(t.Context(), m, mask, o)
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.Finish(t.Context(), w.drawn(t, "a cat", 5, func(d *models.DrawOptions) {
			d.Init, d.Mask, d.Strength, d.Width, d.Height, d.Fill, d.Chunks = p.Init, p.Mask, 0.7, 32, 40, c.fill, true
		}))
		if err != nil {
			t.Fatal(err)
		}
		body := object{"prompt": "a cat", "seed": 5, "steps": 3, "denoising_strength": 0.7, "width": 32, "height": 40,
			"init_images": []string{in64(pngOf(t, m))}, "mask": in64(pngOf(t, mask))}
		maps.Copy(body, c.body)
		var a struct{ Images []string }
		w.get(t, "/sdapi/v1/img2img", body, &a)
		holds(t, name, a.Images[0], want)
		if other, ok := seen[string(want.Pix)]; ok && name != "webuiapi" && other != "webuiapi" {
			t.Errorf("%s is as %s", name, other)
		}
		seen[string(want.Pix)] = name
	}
	// A picture without a mask takes another shape as it is told.
	for mode, fit := range []inpaint.Fit{inpaint.Stretch, inpaint.Crop, inpaint.Pad} {
		init, err := inpaint.Resize(t.Context(), m, 32, 40, fit)
		if err != nil {
			t.Fatal(err)
		}
		var a struct{ Images []string }
		w.get(t, "/sdapi/v1/img2img", object{"prompt": "a cat", "seed": 5, "steps": 3, "denoising_strength": 0.7, "width": 32, "height": 40,
			"init_images": []string{in64(pngOf(t, m))}, "resize_mode": mode}, &a)
		holds(t, fmt.Sprint("resize_mode ", mode), a.Images[0], w.drawn(t, "a cat", 5, func(d *models.DrawOptions) {
			d.Init, d.Strength, d.Width, d.Height, d.Chunks = init, 0.7, 32, 40, true
		}))
	}
}

// TestEmbeddings: texts and pictures, as numbers and in base64.
func TestEmbeddings(t *testing.T) {
	w := newWorld(t, nil)
	png, m := scene(t, 7)
	x, err := w.m.CLIP.EmbedTexts(engine.NewRun(t.Context()), []string{"a cat"}, models.EmbedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	y, err := w.m.CLIP.EmbedImages(engine.NewRun(t.Context()), []pixels.Picture{m}, models.EmbedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]float32{models.Rows(x)[0], models.Rows(y)[0]}
	picture := base64.StdEncoding.EncodeToString(png)
	var a struct {
		Data []struct {
			Index     int
			Embedding []float32
		}
	}
	w.get(t, "/v1/embeddings", object{"model": "mini-clip", "input": []any{"a cat", object{"image": "data:image/png;base64," + picture}}}, &a)
	for i, row := range want {
		for k, v := range row {
			if math.Abs(float64(v-a.Data[i].Embedding[k])) > 1e-5 {
				t.Fatalf("entry %d differs at %d", i, k)
			}
		}
	}
	var b struct{ Data []struct{ Embedding string } }
	w.get(t, "/v1/embeddings", object{"model": "mini-clip", "input": "a cat", "encoding_format": "base64"}, &b)
	data, err := base64.StdEncoding.DecodeString(b.Data[0].Embedding)
	if err != nil || len(data) != 4*len(want[0]) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	var c struct{ Scores [][]float64 }
	w.get(t, "/v1/score", object{"images": []string{picture}, "texts": []string{"a cat", "two red apples"}}, &c)
	if s := models.Cosines(y, x)[0][0]; len(c.Scores) != 1 || len(c.Scores[0]) != 2 || math.Abs(c.Scores[0][0]-s) > 1e-5 {
		t.Errorf("scores %v, want %v first", c.Scores, s)
	}
}

// TestCaption: one by beams, more by sampling, and what a picture's route refuses.
func TestCaption(t *testing.T) {
	w := newWorld(t, nil)
	png, m := scene(t, 12)
	picture := base64.StdEncoding.EncodeToString(png)
	var a struct{ Captions []struct{ Text string } }
	for _, test := range []struct {
		body object
		k    int
		o    models.CaptionOptions
	}{
		{object{}, 1, models.Beam()}, {object{"k": 3, "seed": 4}, 3, models.Nucleus()}, {object{"beam": 1}, 1, func() models.CaptionOptions {
			o := models.Beam()
			o.Beams = 1
			return o
		}()},
	} {
		test.body["image"] = picture
		w.get(t, "/v1/caption", test.body, &a)
		want, err := w.m.BLIP.Caption(engine.NewRun(t.Context()), []pixels.Picture{m}, test.k, []uint64{4}, test.o)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range want[0] {
			if a.Captions[i].Text != c.Text {
				t.Errorf("%d of %v: %q, want %q", i, test.k, a.Captions[i].Text, c.Text)
			}
		}
	}
	var i struct{ Caption string }
	w.get(t, "/sdapi/v1/interrogate", object{"image": picture, "model": "clip"}, &i)
	w.get(t, "/v1/caption", object{"image": picture}, &a)
	if i.Caption != a.Captions[0].Text || i.Caption == "" {
		t.Errorf("interrogate says %q", i.Caption)
	}
}

// TestReconstruct: events tell of captions, steps and candidates before the choice, and
// the answer without them is the same.
func TestReconstruct(t *testing.T) {
	w := newWorld(t, nil)
	png, _ := scene(t, 7)
	picture := base64.StdEncoding.EncodeToString(png)
	for _, body := range []object{{"image": picture}, {"text": "two red apples"}} {
		body["k"], body["seed"], body["steps"] = 3, 11, 3
		var want struct {
			Selected   int
			Candidates []struct {
				Text, Image string
				Score       float64
				Rank        int
			}
		}
		w.get(t, "/v1/reconstruct", body, &want)
		body["stream"], body["previews"] = true, 1
		events := w.events(t, "/v1/reconstruct", body)
		seen := map[string]int{}
		for _, e := range events {
			seen[e.name]++
			switch e.name {
			case "candidate":
				c := want.Candidates[int(e.data["index"].(float64))]
				if e.data["text"] != c.Text || e.data["score"] != c.Score || e.data["image"] != c.Image {
					t.Errorf("a candidate %v %v, want %q %v", e.data["text"], e.data["score"], c.Text, c.Score)
				}
			case "captions":
				if len(e.data["texts"].([]any)) != 3 || seen["step"] > 0 || seen["candidate"] > 0 {
					t.Errorf("captions %v come after %v", e.data, seen)
				}
			}
		}
		last := events[len(events)-1]
		if last.name != "result" || int(last.data["selected"].(float64)) != want.Selected || seen["candidate"] != 3 || seen["step"] == 0 {
			t.Errorf("events %v, the last %v %v, want %d", seen, last.name, last.data, want.Selected)
		}
		if _, ok := body["image"]; ok != (seen["captions"] == 1) {
			t.Errorf("events %v", seen)
		}
	}
}

// TestWebUI: AUTOMATIC1111's clients.
func TestWebUI(t *testing.T) {
	w := newWorld(t, nil)
	png, m := scene(t, 7)
	var a struct {
		Images []string
		Info   string
	}
	body := object{"prompt": "a (cat:1.2)", "negative_prompt": "a dog", "seed": 9, "steps": 3, "cfg_scale": 3, "sampler_name": "Euler",
		"width": 64, "height": 64, "batch_size": 2, "n_iter": 1, "enable_hr": false, "hr_scale": 2, "do_not_save_samples": true,
		"eta": 1.0, "s_noise": 1,
		"override_settings": object{"sd_model_checkpoint": "mini-sd"}, "alwayson_scripts": object{}}
	w.get(t, "/sdapi/v1/txt2img", body, &a)
	change := func(o *models.DrawOptions) {
		o.Guidance, o.Scheduler, o.Negative, o.Chunks = 3, "euler", "a dog", true
	}
	if len(a.Images) != 2 {
		t.Fatalf("%d pictures", len(a.Images))
	}
	holds(t, "txt2img", a.Images[0], w.drawn(t, "a (cat:1.2)", 9, change))
	file := holds(t, "txt2img", a.Images[1], w.drawn(t, "a (cat:1.2)", 10, change))
	var info struct {
		Seeds []uint64 `json:"all_seeds"`
		Texts []string `json:"infotexts"`
	}
	if err := json.Unmarshal([]byte(a.Info), &info); err != nil || fmt.Sprint(info.Seeds) != "[9 10]" {
		t.Errorf("info %s, %v", a.Info, err)
	}
	var p struct{ Info string }
	w.get(t, "/sdapi/v1/png-info", object{"image": "data:image/png;base64," + base64.StdEncoding.EncodeToString(file)}, &p)
	if p.Info != info.Texts[1] || !strings.Contains(p.Info, "Sampler: Euler, CFG scale: 3, Seed: 10") {
		t.Errorf("png-info says %q", p.Info)
	}
	w.get(t, "/sdapi/v1/img2img", object{"prompt": "a cat", "seed": 9, "steps": 3, "denoising_strength": 0.5, "cfg_scale": 3,
		"sampler_index": "Euler",
		"init_images":   []string{base64.StdEncoding.EncodeToString(png)}}, &a)
	holds(t, "img2img", a.Images[0], w.drawn(t, "a cat", 9, func(o *models.DrawOptions) {
		change(o)
		o.Negative, o.Init, o.Strength = "", m, 0.5
	}))
	for want, more := range map[string]object{
		"enable_hr: this is not done here":              {"enable_hr": true},
		"alwayson_scripts.controlnet: this is not done": {"alwayson_scripts": object{"controlnet": object{}}},
		"sampler_name: ":                                {"sampler_name": "Heun"},
		"there is no \\\"other\\\" here":                {"override_settings": object{"sd_model_checkpoint": "other"}},
		"wings: there is no such parameter":             {"wings": 2},
		"steps: 51: want 1 to 50":                       {"steps": 51},
		"width and height have to be multiples":         {"width": 65},
		"batch_size and n_iter: want 1 to 4":            {"n_iter": 0},
		"s_churn: 0.5 is not done here":                 {"s_churn": 0.5},
		"resize_mode: is for img2img":                   {"resize_mode": 1},
		"clip_skip: 2, and override_settings":           {"clip_skip": 2, "override_settings": object{"CLIP_stop_at_last_layers": 1}},
		"batch_size times n_iter: 8: want 1 to 4":       {"n_iter": 4},
	} {
		b := object{"prompt": "a", "batch_size": 2, "steps": 1, "width": 64, "height": 64}
		for k, v := range more {
			b[k] = v
		}
		if code, text := w.ask(t, "/sdapi/v1/txt2img", b); code/100 != 4 || !strings.Contains(text, want) || !strings.Contains(text, `"detail"`) {
			t.Errorf("%s: %d %s", want, code, text)
		}
	}
	var options object
	w.get(t, "/sdapi/v1/options", nil, &options)
	if code, text := w.ask(t, "/sdapi/v1/options", options); code != 200 { // open-webui writes it back
		t.Errorf("the options themselves: %d %s", code, text)
	}
	if code, text := w.ask(t, "/sdapi/v1/options", object{"CLIP_stop_at_last_layers": 2}); code != 400 ||
		!strings.Contains(text, "CLIP_stop") {
		t.Errorf("an option that cannot be set: %d %s", code, text)
	}
	var samplers []struct{ Name string }
	w.get(t, "/sdapi/v1/samplers", nil, &samplers)
	for _, s := range samplers {
		if code, text := w.ask(t, "/sdapi/v1/txt2img", object{"prompt": "a", "steps": 1, "sampler_name": s.Name}); code != 200 {
			t.Errorf("%s is listed, and %d %s", s.Name, code, text)
		}
	}
	for _, path := range strings.Fields("schedulers sd-models sd-vae sd-modules upscalers latent-upscale-modes hypernetworks face-restorers " +
		"realesrgan-models prompt-styles embeddings scripts script-info cmd-flags memory progress") {
		if code, text := w.ask(t, "/sdapi/v1/"+path, nil); code != 200 || !json.Valid([]byte(text)) {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
}

// TestInterrupt: progress tells of a drawing with its preview, and interrupt ends it.
func TestInterrupt(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *work.Limits) { o.Steps = 400 })
	type outcome struct {
		code int
		text string
	}
	done := make(chan outcome, 1)
	go func() {
		code, text := w.ask(t, "/sdapi/v1/txt2img", object{"prompt": "a cat", "steps": 400})
		done <- outcome{code, text}
	}()
	var p struct {
		Progress float64
		Image    *string `json:"current_image"`
		State    struct {
			Jobs int `json:"job_count"`
		}
	}
	deadline := time.Now().Add(time.Minute)
	for p.Image == nil && time.Now().Before(deadline) {
		w.get(t, "/sdapi/v1/progress", nil, &p)
		time.Sleep(10 * time.Millisecond)
	}
	if p.State.Jobs != 1 || p.Progress <= 0 || p.Image == nil {
		t.Errorf("progress %+v", p)
	}
	w.ask(t, "/sdapi/v1/interrupt", object{})
	if o := <-done; o.code != http.StatusConflict || !strings.Contains(o.text, "interrupted") {
		t.Errorf("%d %s", o.code, o.text)
	}
	w.get(t, "/sdapi/v1/progress", nil, &p)
	if p.State.Jobs != 0 || p.Progress != 0 {
		t.Errorf("after it: %+v", p)
	}
}

// TestImmich: the form that Immich sends.
func TestImmich(t *testing.T) {
	w := newWorld(t, nil)
	png, _ := scene(t, 7)
	if code, text := w.ask(t, "/ping", nil); code != 200 || text != "pong" {
		t.Errorf("%d %s", code, text)
	}
	var rows [2][]float32
	for i, tower := range []string{"visual", "textual"} {
		values := map[string]string{"entries": `{"clip": {"` + tower + `": {"modelName": "mini-clip"}}}`}
		files := map[string][]byte{"image": png}
		if tower == "textual" {
			files, values["text"] = nil, "a cat"
		}
		code, text := w.form(t, "/predict", values, files)
		var a struct {
			Clip   string
			Height int `json:"imageHeight"`
		}
		if err := json.Unmarshal([]byte(text), &a); code != 200 || err != nil || (a.Height > 0) != (i == 0) {
			t.Fatalf("%s: %d %s", tower, code, text)
		}
		if err := json.Unmarshal([]byte(a.Clip), &rows[i]); err != nil || len(rows[i]) != 128 {
			t.Errorf("%s: %v, %d numbers", tower, err, len(rows[i]))
		}
	}
	for want, values := range map[string]map[string]string{
		"facial-recognition": {"entries": `{"facial-recognition": {"detection": {"modelName": "x"}}}`}, "entries: is needed": {},
		`there is no \"x\"`: {"entries": `{"clip": {"textual": {"modelName": "x"}}}`, "text": "a"},
	} {
		if code, text := w.form(t, "/predict", values, nil); code/100 != 4 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", want, code, text)
		}
	}
}

// TestRefused: what a request may not have is named, with the right code.
func TestRefused(t *testing.T) {
	w := newWorld(t, nil)
	large := base64.StdEncoding.EncodeToString(make([]byte, 5<<20))
	for _, test := range []struct {
		path string
		body any
		code int
		want string
	}{
		{"/v1/images/generations", object{"prompt": "a", "wings": 2}, 400, "wings: there is no such parameter"},
		{"/v1/images/generations", object{"prompt": 5}, 400, "prompt: number: want a text"},
		{"/v1/images/generations", "{", 400, "no such JSON"},
		{"/v1/images/generations", `{"prompt":"a"} {}`, 400, "more follows"},
		{"/v1/images/generations", `{"prompt":"a","seed":1,"seed":2}`, 400, "seed: comes twice"},
		{"/v1/images/generations", `{"prompt":"a","seed":1,"\u017feed":2}`, 400, "eed: comes twice"},
		{"/sdapi/v1/txt2img", `{"prompt":"a","override_settings":{"CLIP_stop_at_last_layers":1,"clip_stop_at_last_layers":2}}`, 400,
			"clip_stop_at_last_layers: comes twice"},
		{"/v1/embeddings", `{"input":[{"text":"a"},{"text":"b","text":"c"}]}`, 400, "text: comes twice"},
		{"/v1/images/generations", strings.Repeat("[", 100_000), 400, "no such JSON"},
		{"/v1/images/generations", object{}, 400, "prompt: is needed"},
		{"/v1/images/generations", object{"prompt": "a", "model": "dall-e-9"}, 404, "model_not_found"},
		{"/v1/images/generations", object{"prompt": "a", "n": 5}, 400, "n: 5: want 1 to 4"},
		{"/v1/images/generations", object{"prompt": "a", "n": 0}, 400, "n: 0: want 1 to 4"},
		{"/v1/images/generations", object{"prompt": "a", "size": "huge"}, 400, "want WxH"},
		{"/v1/images/generations", object{"prompt": "a", "size": "-64x-64"}, 400, "is no size"},
		{"/v1/images/generations", object{"prompt": "a", "size": "4096x4096"}, 413, "a picture may have"},
		{"/v1/images/generations", object{"prompt": "a", "size": "9223372036854775800x64"}, 413, "a picture may have"},
		{"/v1/images/generations", object{"prompt": "a", "steps": 0}, 400, "steps: 0"},
		{"/v1/images/generations", object{"prompt": "a", "guidance": -1}, 400, "guidance"},
		{"/v1/images/generations", object{"prompt": "a", "strength": 0.5}, 400, "starts from a picture"},
		{"/v1/images/generations", object{"prompt": strings.Repeat("a", 1001)}, 400, "a prompt may have 1000 bytes"},
		{"/v1/images/generations", object{"prompt": "a", "background": "transparent"}, 400, "pictures are opaque"},
		{"/v1/images/generations", object{"prompt": "a", "output_format": "gif"}, 400, "png, jpeg or webp"},
		{"/v1/images/generations", object{"prompt": "a", "partial_images": 1}, 400, "is for stream"},
		{"/v1/images/generations", object{"prompt": large}, 413, "a request may have"},
		{"/v1/embeddings", object{"input": []int{1, 2}}, 400, "token ids are not taken"},
		{"/v1/embeddings", object{"input": []string{}}, 400, "want 1 to 2048"},
		{"/v1/embeddings", object{"input": "a", "dimensions": 5}, 400, "128 numbers"},
		{"/v1/embeddings", object{"input": "a", "model": "text-embedding-3-small"}, 404, "mini-clip"},
		{"/v1/caption", object{"image": "http://127.0.0.1/x.png"}, 400, "addresses are not fetched"},
		{"/v1/caption", object{"image": "!"}, 400, "no base64"},
		{"/v1/caption", object{"image": "aGVsbG8="}, 400, "image: "},
		{"/v1/caption", object{"image": "", "k": 99}, 400, "k: 99"},
		{"/v1/caption", object{"image": "", "beam": 2, "top_p": 0.5}, 400, "choose one"},
		{"/v1/reconstruct", object{}, 400, "want an image or a text"},
		{"/v1/reconstruct", object{"text": "a", "k": 17}, 400, "k: 17"},
		{"/v1/reconstruct", object{"text": "a", "previews": 2}, 400, "with stream"},
		{"/v1/files/../../etc/passwd", nil, 404, ""},
		{"/etc/passwd", nil, 404, "/openapi.json lists what is"},
		{"/v1/caption", nil, 405, "GET /v1/caption: want"},
		{"/healthz", object{}, 405, "POST /healthz: want GET, HEAD"},
		{"/v1/images/generations", "", 400, "it is empty"},
		{"/v1/images/generations", "[]", 400, "array, want an object"},
		{"/v1/images/generations", `{"prompt": ["a"]}`, 400, "prompt: array: want a text"},
		{"/v1/images/generations", `{"prompt": "a", "n": 1.5}`, 400, "n: number 1.5: want a whole number"},
		{"/v1/images/generations", `{"prompt": "a", "stream": 1}`, 400, "stream: number: want true or false"},
		{"/v1/images/generations", object{"prompt": "a", "size": "0x0"}, 400, "is no size"},
		{"/sdapi/v1/txt2img", `{"prompt": "a", "steps": "3"}`, 400, "steps: string: want a whole number"},
		{"/sdapi/v1/img2img", `{"prompt": "a", "init_images": "x"}`, 400, "init_images: string: want a list"},
		{"/v1/caption", object{"image": base64.StdEncoding.EncodeToString(pngOf(t, pixels.New(2000, 1000, color.RGBA{})))}, 413,
			"2000 x 1000 pixels, at most"},
		{"/v1/nothing", object{}, 404, "there is nothing at /v1/nothing"},
	} {
		code, text := w.ask(t, test.path, test.body)
		if code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("%s %.60v: %d %.200s, want %d %s", test.path, test.body, code, text, test.code, test.want)
		}
	}
	if l := w.logs.String(); l != "" {
		t.Errorf("the log has %s", l)
	}
}

// TestKey: with a key nobody without it is answered, but for what watches the process.
func TestKey(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *work.Limits) { o.Key = "secret"; o.Origins = []string{"https://a.example"} })
	try := func(path, header string) int {
		req, err := http.NewRequest(http.MethodGet, w.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		code, _ := w.do(t, req)
		return code
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
	for _, test := range []struct {
		path, header string
		want         int
	}{
		{"/v1/models", "", 401}, {"/v1/models", "Bearer wrong", 401}, {"/v1/models", "Bearer ", 401}, {"/v1/models", "Bearer secret", 200},
		{"/v1/models", basic, 200}, {"/", "", 401}, {"/metrics", "", 401}, {"/healthz", "", 200}, {"/readyz", "", 200}, {"/ping", "", 200},
	} {
		if code := try(test.path, test.header); code != test.want {
			t.Errorf("%s %q: %d, want %d", test.path, test.header, code, test.want)
		}
	}
	for origin, want := range map[string]string{"https://a.example": "https://a.example", "https://b.example": ""} {
		req, _ := http.NewRequest(http.MethodOptions, w.URL+"/v1/models", nil)
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if have := resp.Header.Get("Access-Control-Allow-Origin"); have != want || resp.StatusCode != http.StatusNoContent {
			t.Errorf("%s: %d, allows %q", origin, resp.StatusCode, have)
		}
	}
}

// TestOtherPages: what another page makes a browser ask is not done, though it asks for no
// answer, nor what comes by another name without a key; --cors allows both.
func TestOtherPages(t *testing.T) {
	for _, test := range []struct {
		key, origins, from, host string
		want                     int
	}{
		{"", "", "", "", 200},
		{"", "", "https://a.example", "", 403},
		{"", "", "null", "", 403},
		{"", "https://a.example", "https://a.example", "", 200},
		{"", "https://a.example", "https://b.example", "", 403},
		{"", "*", "https://b.example", "", 200},
		{"secret", "", "https://a.example", "", 403},
		{"", "", "", "a.example:8080", 403},
		{"", "", "http://a.example:8080", "a.example:8080", 403},
		{"", "http://a.example:8080", "http://a.example:8080", "a.example:8080", 200},
		{"", "", "", "localhost:9", 200},
		{"", "", "", "[::1]:9", 200},
		{"", "", "", "localhost", 200},
		{"secret", "", "", "a.example", 200},
		{"", "*", "", "a.example", 200},
	} {
		w := &Server{o: Options{Key: test.key, Deadline: time.Minute, Body: 1000}, mux: http.NewServeMux()}
		w.meters = newMeters(func() int { return 0 })
		if test.origins != "" {
			w.o.Origins = []string{test.origins}
		}
		w.trust()
		done := false
		w.route("POST /do", func(http.ResponseWriter, *http.Request) { done = true })
		r := httptest.NewRequest(http.MethodPost, "/do", nil)
		if r.Host = "127.0.0.1:8080"; test.host != "" {
			r.Host = test.host
		}
		if test.from != "" {
			r.Header.Set("Origin", test.from)
		}
		r.SetBasicAuth("me", test.key)
		out := httptest.NewRecorder()
		w.ServeHTTP(out, r)
		if out.Code != test.want || done != (test.want == 200) {
			t.Errorf("%+v: %d %s", test, out.Code, out.Body)
		}
	}
}

// TestBusy: a full queue answers 429 with a time, and leaves nothing behind.
func TestBusy(t *testing.T) {
	w := newWorld(t, func(_ *Options, l *work.Limits) { l.Waiting, l.Batch = 2, 1 })
	var wait sync.WaitGroup
	codes := make(chan int, 12)
	after := make(chan string, 12)
	for range 12 {
		wait.Go(func() {
			resp, err := http.Post(w.URL+"/v1/images/generations", "application/json", strings.NewReader(`{"prompt": "a", "steps": 20}`))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			codes <- resp.StatusCode
			if resp.StatusCode == 429 {
				after <- resp.Header.Get("Retry-After")
			}
		})
	}
	wait.Wait()
	close(codes)
	count := map[int]int{}
	for c := range codes {
		count[c]++
	}
	if count[200] < 2 || count[429] < 1 || count[200]+count[429] != 12 {
		t.Errorf("answers %v", count)
	}
	if a := <-after; a == "" || a == "0" {
		t.Errorf("Retry-After is %q", a)
	}
	_, text := w.ask(t, "/metrics", nil)
	for _, want := range []string{`parley_device_memory_free_bytes`, `parley_joined_total`, `parley_requests_waiting{lane="drawings"} 0`,
		`parley_batch_size_count{lane="drawings"}`,
		`parley_request_seconds_count{code="429",route="POST /v1/images/generations"}`, "parley_denoising_steps_total"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// TestDeadline: a request that takes too long is answered, and its work ends.
func TestDeadline(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *work.Limits) { o.Deadline, o.Steps = 300*time.Millisecond, 1000 })
	if code, text := w.ask(t, "/v1/images/generations", object{"prompt": "a", "steps": 1000}); code != http.StatusGatewayTimeout {
		t.Errorf("%d %s", code, text)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, text := w.ask(t, "/metrics", nil)
		if strings.Contains(text, `parley_requests_running{lane="drawings"} 0`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the drawing goes on")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestStopping: once it is closed a server is not ready and takes no work.
func TestStopping(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, _ := w.ask(t, "/readyz", nil); code != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", code)
	}
	if code, text := w.ask(t, "/v1/embeddings", object{"input": "a"}); code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", code, text)
	}
}

// TestAsync: with "Prefer: respond-async" a request is a job, whose result is the answer
// that it has else; a wrong one is refused at once.
func TestAsync(t *testing.T) {
	w := newWorld(t, nil)
	png, _ := scene(t, 7)
	in64 := base64.StdEncoding.EncodeToString(png)
	post := func(path string, body any, async bool) (*http.Response, string) {
		t.Helper()
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, w.URL+path, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if async {
			req.Header.Set("Prefer", "handling=lenient, Respond-Async; wait=1")
		}
		return w.answer(t, req)
	}
	until := func(at string) (j jobs.Job) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); j.Ended == nil; time.Sleep(5 * time.Millisecond) {
			if w.get(t, at, nil, &j); time.Now().After(deadline) {
				t.Fatalf("%s is %s", at, j.State)
			}
		}
		return j
	}
	list := func(v any) []any { l, _ := v.([]any); return l }
	for path, c := range map[string]struct {
		kind, title, chosen string
		body, wrong         object
	}{
		"/v1/caption": {"caption", "image", "*", object{"image": in64}, object{"image": "#"}},
		"/v1/score": {"score", "1 pictures, 2 texts", "", object{"images": []string{in64}, "texts": []string{"a cat", "a dog"}},
			object{"images": []string{in64}}},
		"/v1/embeddings": {"embed", "1 inputs", "", object{"input": "a cat"}, object{"input": ""}},
		"/v1/images/generations": {"draw", "a cat", "", object{"prompt": "a cat", "seed": 3, "steps": 1, "n": 2},
			object{"prompt": "a", "stream": true}},
		"/v1/reconstruct": {"reconstruct", "a cat", "*", object{"text": "a cat", "k": 1, "steps": 1, "seed": 3},
			object{"text": "a", "stream": true}},
	} {
		res, text := post(path, c.body, true)
		at := res.Header.Get("Location")
		if res.StatusCode != http.StatusAccepted || !strings.HasPrefix(at, "/v1/jobs/") ||
			res.Header.Get("Preference-Applied") != "respond-async" {
			t.Errorf("%s: %d %v %s", path, res.StatusCode, res.Header, text)
			continue
		}
		j := until(at)
		_, want := post(path, c.body, false)
		var have, now any
		if err := errors.Join(json.Unmarshal(j.Result, &have), json.Unmarshal([]byte(want), &now)); err != nil {
			t.Fatal(err)
		}
		for _, v := range []any{have, now} {
			delete(v.(object), "created") // and what tells of time
			for _, c := range list(v.(object)["candidates"]) {
				delete(c.(object), "seconds")
				delete(c.(object), "timing")
			}
		}
		if j.State != jobs.Done || j.Kind != c.kind || j.Title != c.title || (j.Chosen != "") != (c.chosen != "") ||
			!reflect.DeepEqual(have, now) {
			t.Errorf("%s: a job %s of kind %s, %q, has chosen %q: %.300s, want %.300s", path, j.State, j.Kind, j.Title, j.Chosen, j.Result, want)
		}
		var all struct{ Data []jobs.Job }
		w.get(t, "/v1/jobs", nil, &all)
		before := len(all.Data)
		if res, text := post(path, c.wrong, true); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, res.StatusCode, text)
		}
		if w.get(t, "/v1/jobs", nil, &all); len(all.Data) != before {
			t.Errorf("%s: a request that is refused is a job", path)
		}
	}
	// One that is cancelled.
	res, _ := post("/v1/images/generations", object{"prompt": "a cat", "steps": 50, "n": 4}, true)
	req, err := http.NewRequest(http.MethodDelete, w.URL+res.Header.Get("Location"), nil)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	gone.Body.Close()
	if j := until(res.Header.Get("Location")); j.State != jobs.Cancelled || gone.StatusCode != 200 {
		t.Errorf("%d, %+v", gone.StatusCode, j)
	}
}

// TestJobs: every reconstruction is a job; one in the background goes on when its client
// leaves, can be cancelled, and is there when the server is another one.
func TestJobs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jobs.db")
	open := func() *world {
		return newWorld(t, func(o *Options, _ *work.Limits) {
			var err error
			if o.Jobs, err = jobs.Open(file, 10); err != nil {
				t.Fatal(err)
			}
			o.Steps = 1000
		})
	}
	w := open()
	var want struct{ Selected int }
	w.get(t, "/v1/reconstruct", object{"text": "a cat", "k": 2, "steps": 2, "seed": 3}, &want)
	start := func(steps int) (id string) {
		code, text := w.ask(t, "/v1/reconstruct", object{"text": "a cat", "k": 2, "steps": steps, "seed": 3, "background": true})
		var j jobs.Job
		if err := json.Unmarshal([]byte(text), &j); code != http.StatusAccepted || err != nil || j.State != jobs.Running {
			t.Fatalf("%d %s", code, text)
		}
		return j.ID
	}
	until := func(id string, state jobs.State) (j jobs.Job) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); j.State != state; time.Sleep(10 * time.Millisecond) {
			if w.get(t, "/v1/jobs/"+id, nil, &j); time.Now().After(deadline) {
				t.Fatalf("job %+v, want %s", j, state)
			}
		}
		return j
	}
	good := start(2)
	j := until(good, jobs.Done)
	var have struct{ Selected int }
	if err := json.Unmarshal(j.Result, &have); err != nil || have != want || j.Chosen == "" {
		t.Errorf("%+v %v, want %+v", have, err, want)
	}
	long := start(1000)
	req, err := http.NewRequest(http.MethodDelete, w.URL+"/v1/jobs/"+long, nil)
	if err != nil {
		t.Fatal(err)
	}
	if code, text := w.do(t, req); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	until(long, jobs.Cancelled)
	if code, _ := w.do(t, req); code != http.StatusConflict {
		t.Errorf("cancelled twice: %d", code)
	}
	if code, _ := w.ask(t, "/v1/jobs/nothing", nil); code != 404 {
		t.Errorf("no job: %d", code)
	}
	over := start(1000)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, text := w.ask(t, "/metrics", nil); strings.Contains(text, `parley_requests_running{lane="drawings"} 2`) {
			break
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.s.Close(ctx); err == nil {
		t.Error("nothing was ended")
	}
	if err := w.s.o.Jobs.Close(); err != nil {
		t.Fatal(err)
	}
	w = open()
	defer func() { w.s.o.Jobs.Close() }()
	var list struct{ Data []jobs.Job }
	w.get(t, "/v1/jobs", nil, &list)
	states := map[string]jobs.State{}
	for _, j := range list.Data {
		states[j.ID] = j.State
	}
	if len(list.Data) != 4 || states[good] != jobs.Done || states[long] != jobs.Cancelled || states[over] != jobs.Failed {
		t.Errorf("%+v", list.Data)
	}
	j = until(good, jobs.Done)
	if len(j.Result) < 1000 {
		t.Errorf("the result is %s", j.Result)
	}
}

// TestOpenAPI: what is described is what is served.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t, nil)
	described := map[string]bool{}
	for _, o := range operations() {
		described[o.pattern] = true
	}
	for _, pattern := range w.s.routes {
		if !described[pattern] {
			t.Errorf("%s is not described", pattern)
		}
		delete(described, pattern)
	}
	for pattern := range described {
		t.Errorf("%s is described, and not served", pattern)
	}
	var d struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct {
					Example object
					Schema  struct {
						Properties map[string]struct{ Type string }
					}
				}
			}
		}
	}
	w.get(t, "/openapi.json", nil, &d)
	p := d.Paths["/v1/images/generations"]["post"].RequestBody.Content["application/json"].Schema.Properties
	if d.OpenAPI != "3.1.0" || p["prompt"].Type != "string" || p["n"].Type != "integer" ||
		p["guidance"].Type != "number" || p["stream"].Type != "boolean" {
		t.Errorf("%s %v", d.OpenAPI, p)
	}
	if p := d.Paths["/sdapi/v1/img2img"]["post"].RequestBody.Content["application/json"].Schema.Properties; p["mask_blur"].Type != "number" {
		t.Errorf("img2img has %v", p)
	}
	sent := 0
	for path, item := range d.Paths {
		body, ok := item["post"].RequestBody.Content["application/json"]
		if !ok {
			continue
		}
		if body.Example == nil {
			t.Errorf("%s has no example", path)
			continue
		}
		if code, text := w.ask(t, path, body.Example); code != http.StatusOK {
			t.Errorf("%s: its example gives %d %s", path, code, text)
		}
		sent++
	}
	if sent < 10 {
		t.Errorf("%d examples", sent)
	}
}
