package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"parley/cmd/serve/work"
	"parley/engine"
	"parley/nets/diffusion"
	"parley/nets/models"
	"parley/nets/pixels"
	"parley/nets/pixels/inpaint"
	"parley/nets/pixels/parameters"
	"parley/nets/schedule"
)

// errInterrupted is how a drawing ends that /sdapi/v1/interrupt has ended.
var errInterrupted = errors.New("the drawing was interrupted")

// current is what AUTOMATIC1111's clients see as the one job that runs: the drawings of
// all of them, of which progress tells and which interrupt ends.
type current struct {
	mu    sync.Mutex
	count int // requests that are drawn
	jobs  map[int]*running
}

type running struct {
	cancel      context.CancelCauseFunc
	since       time.Time
	step, steps int // of all its drawings together
	preview     []byte
}

// begin puts a request among those that are drawn.
func (c *current) begin(steps int, cancel context.CancelCauseFunc) (id int, j *running) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jobs == nil {
		c.jobs = map[int]*running{}
	}
	c.count++
	j = &running{cancel: cancel, since: time.Now(), steps: steps}
	c.jobs[c.count] = j
	return c.count, j
}

func (c *current) end(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.jobs, id)
}

// interrupt ends all.
func (c *current) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jobs {
		j.cancel(errInterrupted)
	}
}

// webUI registers AUTOMATIC1111's routes, as far as clients use them.
func (s *Server) webUI() {
	const at = "/sdapi/v1/"
	s.handle("POST "+at+"txt2img", func(r *http.Request) (any, error) { return s.webDraw(r, false) })
	s.handle("POST "+at+"img2img", func(r *http.Request) (any, error) { return s.webDraw(r, true) })
	s.handle("POST "+at+"interrogate", s.interrogate)
	s.handle("GET "+at+"progress", s.progress)
	for _, path := range []string{"interrupt", "skip"} {
		s.handle("POST "+at+path, func(*http.Request) (any, error) {
			s.current.interrupt()
			return map[string]any{}, nil
		})
	}
	s.handle("GET "+at+"options", func(*http.Request) (any, error) { return s.webOptions(), nil })
	s.handle("POST "+at+"options", s.setOptions)
	s.handle("POST "+at+"png-info", s.pngInfo)
	s.handle("GET "+at+"memory", func(*http.Request) (any, error) {
		free := engine.FreeMemory(s.work.Device)
		return map[string]any{"ram": map[string]any{"free": free}, "cuda": map[string]any{"system": map[string]any{"free": free}}}, nil
	})
	s.handle("GET "+at+"samplers", func(*http.Request) (any, error) {
		list := []map[string]any{}
		for _, k := range schedule.Kinds {
			list = append(list, map[string]any{"name": parameters.SamplerName(k), "aliases": []string{k}, "options": map[string]string{}})
		}
		return list, nil
	})
	s.handle("GET "+at+"schedulers", func(*http.Request) (any, error) {
		return []map[string]any{{"name": "automatic", "label": "Automatic", "aliases": nil, "default_rho": -1, "need_inner_model": false}}, nil
	})
	s.handle("GET "+at+"sd-models", func(*http.Request) (any, error) {
		n := s.o.Names.SD
		return []map[string]any{{"title": n, "model_name": n, "hash": nil, "sha256": nil, "filename": n, "config": nil}}, nil
	})
	s.handle("GET "+at+"cmd-flags", func(*http.Request) (any, error) { return map[string]any{}, nil })
	s.handle("GET "+at+"embeddings", func(*http.Request) (any, error) {
		return map[string]any{"loaded": map[string]any{}, "skipped": map[string]any{}}, nil
	})
	s.handle("GET "+at+"scripts", func(*http.Request) (any, error) {
		return map[string]any{"txt2img": []string{}, "img2img": []string{}}, nil
	})
	for _, empty := range []string{"sd-vae", "sd-modules", "upscalers", "latent-upscale-modes", "hypernetworks", "face-restorers",
		"realesrgan-models", "prompt-styles", "script-info", "loras"} {
		s.handle("GET "+at+empty, func(*http.Request) (any, error) { return []any{}, nil })
	}
	for _, path := range []string{"refresh-checkpoints", "refresh-vae", "refresh-loras"} {
		s.handle("POST "+at+path, func(*http.Request) (any, error) { return nil, nil })
	}
}

// webRequest is a drawing as AUTOMATIC1111's clients ask for it.
type webRequest struct {
	Prompt     string   `json:"prompt"`
	Negative   string   `json:"negative_prompt"`
	Seed       *int64   `json:"seed"`
	Sampler    string   `json:"sampler_name"`
	Index      string   `json:"sampler_index"`
	Scheduler  string   `json:"scheduler"`
	BatchSize  *int     `json:"batch_size"`
	Iterations *int     `json:"n_iter"`
	Steps      *int     `json:"steps"`
	Guidance   *float64 `json:"cfg_scale"`
	Width      *int     `json:"width"`
	Height     *int     `json:"height"`
	Strength   *float64 `json:"denoising_strength"`
	Init       []string `json:"init_images"`
	Resize     int      `json:"resize_mode"`
	HighRes    bool     `json:"enable_hr"`
	Faces      bool     `json:"restore_faces"`
	Tiling     bool     `json:"tiling"`
	Refiner    *string  `json:"refiner_checkpoint"`
	Styles     []string `json:"styles"`
	Script     *string  `json:"script_name"`
	Subseed    *float64 `json:"subseed_strength"`
	SendImages *bool    `json:"send_images"`
	ClipSkip   *int     `json:"clip_skip"` // what SillyTavern calls CLIP_stop_at_last_layers
	Override   struct {
		Model    string `json:"sd_model_checkpoint"`
		ClipSkip *int   `json:"CLIP_stop_at_last_layers"`
		VAE      string `json:"sd_vae"`
	} `json:"override_settings"`
	Always map[string]json.RawMessage `json:"alwayson_scripts"`

	Mask    *string         `json:"mask"` // white, or opaque, where the picture is drawn anew
	Invert  int             `json:"inpainting_mask_invert"`
	Blur    *float64        `json:"mask_blur"` // of both sides, before the others
	BlurX   *float64        `json:"mask_blur_x"`
	BlurY   *float64        `json:"mask_blur_y"`
	Round   json.RawMessage `json:"mask_round"`
	Fill    int             `json:"inpainting_fill"`
	FullRes json.RawMessage `json:"inpaint_full_res"`
	Padding int             `json:"inpaint_full_res_padding"`
}

// silent are parameters that clients send and that change nothing here: they belong to
// what is refused where it is wanted, or to the web UI's own files.
var silent = []string{"subseed", "do_not_save_samples", "do_not_save_grid", "save_images", "override_settings_restore_afterwards",
	"refiner_switch_at", "disable_extra_networks", "comments", "firstphase_width", "firstphase_height", "hr_scale", "hr_upscaler",
	"hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt",
	"hr_negative_prompt", "hr_cfg", "hr_additional_modules", "script_args", "infotext", "force_task_id", "image_cfg_scale",
	"include_init_images", "distilled_cfg_scale"}

// ofMasks are parameters that change nothing where there is no mask.
var ofMasks = []string{"mask_blur", "mask_blur_x", "mask_blur_y", "mask_round", "inpainting_fill", "inpaint_full_res",
	"inpaint_full_res_padding", "inpainting_mask_invert"}

// neutral are parameters that may have these values alone, with which they change nothing.
var neutral = map[string][]float64{"eta": {0, 1}, "s_churn": {0}, "s_tmax": {0}, "s_tmin": {0}, "s_noise": {1}, "s_min_uncond": {0},
	"seed_resize_from_h": {0, -1}, "seed_resize_from_w": {0, -1}, "initial_noise_multiplier": {0, 1}}

// webDraw is txt2img and img2img.
func (s *Server) webDraw(r *http.Request, from bool) (any, error) {
	q, sent, err := webBody(r)
	if err != nil {
		return nil, err
	}
	list, finish, err := s.webDrawings(r.Context(), q, from)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	steps := 0
	for _, d := range list {
		steps += d.Options.Steps
	}
	id, job := s.current.begin(steps, cancel)
	defer s.current.end(id)
	for i := range list {
		list[i].Previews = 3
		list[i].Step = func(_, _ int, m *pixels.Image) {
			var data []byte
			if m != nil {
				data, _ = png(m)
			}
			s.current.mu.Lock()
			defer s.current.mu.Unlock()
			if job.step++; data != nil {
				job.preview = data
			}
		}
	}
	images := make([]string, len(list))
	texts := make([]string, len(list))
	seeds := make([]uint64, len(list))
	var failed error
	err = s.work.Draw(ctx, client(r), list, func(i int, m *pixels.Image, err error) {
		how := s.how(list[i])
		var data []byte
		if err == nil && finish != nil {
			m, err = finish(ctx, m)
		}
		if err == nil {
			data, err = format{name: "png"}.encode(m, how)
		}
		failed = errors.Join(failed, err)
		texts[i], seeds[i] = how.String(), list[i].Seed
		images[i] = base64.StdEncoding.EncodeToString(data)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	if q.SendImages != nil && !*q.SendImages {
		images = []string{}
	}
	o := list[0].Options
	info, err := json.Marshal(map[string]any{"prompt": q.Prompt, "all_prompts": repeat(q.Prompt, len(list)), "negative_prompt": q.Negative,
		"all_negative_prompts": repeat(q.Negative, len(list)), "seed": seeds[0], "all_seeds": seeds, "subseed": seeds[0], "all_subseeds": seeds,
		"subseed_strength": 0, "width": o.Width, "height": o.Height, "sampler_name": parameters.SamplerName(s.how(list[0]).Sampler),
		"cfg_scale": o.Guidance, "steps": o.Steps, "batch_size": len(list), "sd_model_name": s.o.Names.SD, "sd_model_hash": "",
		"denoising_strength": o.Strength, "infotexts": texts, "index_of_first_image": 0, "styles": []string{}, "clip_skip": o.ClipSkip + 1,
		"job_timestamp": time.Now().UTC().Format("20060102150405"), "version": s.o.Version})
	return map[string]any{"images": images, "parameters": sent, "info": string(info)}, err
}

func repeat(s string, n int) []string { return slices.Repeat([]string{s}, n) }

// webBody reads a request; a parameter that would change the picture and is not known is
// refused by name.
func webBody(r *http.Request) (q webRequest, sent map[string]any, err error) {
	var raw map[string]json.RawMessage
	if err := decode(r, &raw); err != nil {
		return q, nil, err
	}
	sent = map[string]any{}
	_, mask := raw["mask"]
	mask = mask && string(raw["mask"]) != "null"
	for name, v := range raw {
		if values, ok := neutral[name]; ok && string(v) != "null" {
			if have, err := number(v); err != nil || !slices.Contains(values, have) {
				return q, nil, wrong(name, "%s is not done here, but %v", v, values)
			}
			delete(raw, name)
		}
		if slices.Contains(silent, name) || !mask && slices.Contains(ofMasks, name) || string(v) == "null" {
			delete(raw, name)
		}
		if name != "init_images" && name != "mask" {
			sent[name] = v
		}
	}
	data, err := json.Marshal(raw)
	if err != nil {
		return q, nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		text := strings.TrimPrefix(err.Error(), "json: ")
		if name, ok := strings.CutPrefix(text, "unknown field "); ok {
			return q, nil, wrong(strings.Trim(name, `"`), "there is no such parameter here")
		}
		return q, nil, unread(err)
	}
	return q, sent, nil
}

// number reads a number, or a truth as 1 or 0.
func number(v json.RawMessage) (x float64, err error) {
	switch string(v) {
	case "true":
		return 1, nil
	case "false":
		return 0, nil
	}
	err = json.Unmarshal(v, &x)
	return x, err
}

// webDrawings are the drawings that a request asks for, and what is done with them then,
// unless it is nil.
func (s *Server) webDrawings(ctx context.Context, q webRequest, from bool) (list []work.Drawing,
	finish func(context.Context, *pixels.Image) (*pixels.Image, error), err error) {
	refuse := func(param string, set bool) error {
		if set {
			return wrong(param, "this is not done here")
		}
		return nil
	}
	active := slices.Sorted(maps.Keys(q.Always))
	err = errors.Join(refuse("enable_hr", q.HighRes), refuse("restore_faces", q.Faces), refuse("tiling", q.Tiling),
		refuse("refiner_checkpoint", q.Refiner != nil && *q.Refiner != ""), refuse("styles", len(q.Styles) > 0),
		refuse("script_name", q.Script != nil && *q.Script != ""), refuse("subseed_strength", q.Subseed != nil && *q.Subseed != 0),
		refuse("override_settings.sd_vae", !slices.Contains([]string{"", "Automatic", "None"}, q.Override.VAE)),
		refuse("alwayson_scripts."+strings.Join(active, ", "), len(active) > 0),
		refuse("scheduler", !slices.Contains([]string{"", "Automatic", "automatic", "Karras", "karras"}, q.Scheduler)),
		known(q.Override.Model, s.o.Names.SD))
	if err != nil {
		return nil, nil, first(err)
	}
	a := asked{prompt: q.Prompt, negative: q.Negative, seed: q.Seed, steps: q.Steps, guidance: q.Guidance, chunks: true}
	name := q.Sampler
	if name == "" {
		name = q.Index
	}
	if name != "" {
		var ok bool
		if a.scheduler, ok = parameters.SamplerKind(name); !ok {
			return nil, nil, wrong("sampler_name", "%q: want one that GET /sdapi/v1/samplers lists", name)
		}
	}
	if strings.EqualFold(q.Scheduler, "karras") {
		if a.scheduler != "dpmpp2m" && a.scheduler != "dpmpp2m-karras" {
			return nil, nil, wrong("scheduler", "karras is for DPM++ 2M")
		}
		a.scheduler = "dpmpp2m-karras"
	}
	if q.Width != nil {
		a.w = *q.Width
	}
	if q.Height != nil {
		a.h = *q.Height
	}
	if (a.w == 0) != (a.h == 0) {
		return nil, nil, wrong("width", "width and height come together")
	}
	if !from && len(q.Init) > 0 {
		return nil, nil, wrong("init_images", "are for img2img")
	}
	if !from && q.Mask != nil {
		return nil, nil, wrong("mask", "is for img2img")
	}
	if !from && q.Resize != 0 {
		return nil, nil, wrong("resize_mode", "is for img2img")
	}
	if from {
		if len(q.Init) != 1 {
			return nil, nil, wrong("init_images", "%d pictures: want one", len(q.Init))
		}
		if a.from.picture, err = s.picture("init_images[0]", q.Init[0]); err != nil {
			return nil, nil, err
		}
		if a.strength = q.Strength; a.strength == nil {
			v := 0.75 // the web UI's
			a.strength = &v
		}
	}
	d, err := s.drawing(a)
	if err != nil {
		return nil, nil, err
	}
	if from {
		if finish, err = s.webPicture(ctx, q, &d); err != nil {
			return nil, nil, err
		}
	}
	skip := q.Override.ClipSkip
	if skip == nil {
		skip = q.ClipSkip
	} else if q.ClipSkip != nil && *q.ClipSkip != *skip {
		return nil, nil, wrong("clip_skip", "%d, and override_settings.CLIP_stop_at_last_layers is %d", *q.ClipSkip, *skip)
	}
	if skip != nil && *skip > 1 {
		d.Options.ClipSkip = *skip - 1
	}
	n := 1
	for _, v := range []*int{q.BatchSize, q.Iterations} {
		if v != nil {
			if *v < 1 || *v > s.o.N {
				return nil, nil, wrong("batch_size", "batch_size and n_iter: want 1 to %d", s.o.N)
			}
			n *= *v
		}
	}
	list, err = s.series(ctx, "batch_size times n_iter", d, &n)
	return list, finish, err
}

// webPicture makes of a drawing's picture what it starts from, and says how the result is
// put back, unless that is nothing.
func (s *Server) webPicture(ctx context.Context, q webRequest, d *work.Drawing) (
	finish func(context.Context, *pixels.Image) (*pixels.Image, error), err error) {
	if q.Resize < 0 || q.Resize > 2 {
		return nil, wrong("resize_mode", "%d is not done here, but 0 to 2", q.Resize)
	}
	w, h := d.Options.Width, d.Options.Height
	fit := inpaint.Fit(q.Resize)
	if q.Mask == nil {
		if fit != inpaint.Stretch {
			d.Init, err = inpaint.Resize(ctx, d.Init, w, h, fit)
		}
		return nil, err
	}
	o := inpaint.Options{W: w, H: h, Latent: s.work.SD.VAE.Factor, Fit: fit, Padding: q.Padding, BlurX: 4, BlurY: 4}
	if q.Blur != nil {
		q.BlurX, q.BlurY = q.Blur, q.Blur
	}
	for _, b := range []struct {
		from *float64
		to   *float64
	}{{q.BlurX, &o.BlurX}, {q.BlurY, &o.BlurY}} {
		if b.from == nil {
			continue
		}
		if *b.to = *b.from; !(*b.to >= 0 && *b.to <= inpaint.MostBlur) {
			return nil, wrong("mask_blur", "%v: want 0 to %d", *b.to, inpaint.MostBlur)
		}
	}
	switch q.Fill {
	case 0:
		o.Fill = true
	case 1:
	case 2:
		d.Options.Fill = diffusion.FillNoise
	case 3:
		d.Options.Fill = diffusion.FillNothing
	default:
		return nil, wrong("inpainting_fill", "%d: want 0 to 3", q.Fill)
	}
	if o.Padding < 0 || o.Padding > 1<<20 {
		return nil, wrong("inpaint_full_res_padding", "%d: want 0 to %d", o.Padding, 1<<20)
	}
	if o.OnlyMasked, err = truth("inpaint_full_res", q.FullRes); err != nil {
		return nil, err
	}
	if hard, err := truth("mask_round", q.Round); err != nil {
		return nil, err
	} else if !hard {
		return nil, wrong("mask_round", "false is not done here: latents are drawn anew or not")
	}
	mask, err := s.webMask(*q.Mask, q.Invert)
	if err != nil {
		return nil, err
	}
	p, err := inpaint.Prepare(ctx, d.Init, mask, o)
	if errors.Is(err, inpaint.ErrBlank) {
		return nil, wrong("mask", "%v", err)
	}
	if err != nil {
		return nil, err
	}
	d.Init, d.Mask = p.Init, p.Mask
	return p.Finish, nil
}

// truth reads what is true, 1, or left out.
func truth(param string, v json.RawMessage) (bool, error) {
	if v == nil {
		return true, nil
	}
	n, err := number(v)
	if err != nil || n != 0 && n != 1 {
		return false, wrong(param, "%s: want true or false", v)
	}
	return n == 1, nil
}

// webMask reads a mask: where some of it is transparent, what is opaque is drawn anew, else
// what is white.
func (s *Server) webMask(text string, inverted int) (*pixels.Image, error) {
	if inverted != 0 && inverted != 1 {
		return nil, wrong("inpainting_mask_invert", "%d: want 0 or 1", inverted)
	}
	data, err := encoded("mask", text)
	if err != nil {
		return nil, err
	}
	m, err := s.decodePicture("mask", bytes.NewReader(data), pixels.Options{Alpha: true})
	if err != nil {
		return nil, err
	}
	if opaque(m) {
		if m, err = s.decodePicture("mask", bytes.NewReader(data), pixels.Options{}); err != nil {
			return nil, err
		}
		m = m.Grey()
	} else {
		for i, v := range m.Pix {
			if m.Pix[i] = 0; v > 128 {
				m.Pix[i] = 255
			}
		}
	}
	if inverted == 1 {
		invert(m)
	}
	return m, nil
}

// first is the first of joined errors.
func first(err error) error {
	if list, ok := err.(interface{ Unwrap() []error }); ok && len(list.Unwrap()) > 0 {
		return list.Unwrap()[0]
	}
	return err
}

// interrogate describes a picture.
func (s *Server) interrogate(r *http.Request) (any, error) {
	var q struct {
		Image string `json:"image"`
		Model string `json:"model"`
	}
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	// The web UI's captioner is called clip, and is a BLIP.
	if q.Model != "" && q.Model != "clip" && q.Model != s.o.Names.BLIP {
		return nil, wrong("model", "%q: want clip, which is %s", q.Model, s.o.Names.BLIP)
	}
	m, err := s.picture("image", q.Image)
	if err != nil {
		return nil, err
	}
	caption, err := s.describeOnce(r, m)
	return map[string]string{"caption": caption}, err
}

// describeOnce is a picture's likeliest caption.
func (s *Server) describeOnce(r *http.Request, m *pixels.Image) (string, error) {
	list, err := s.work.Caption(r.Context(), client(r), m, 1, 0, models.Beam())
	if err == nil {
		err = list[0].Err
	}
	if err != nil {
		return "", err
	}
	return list[0].Text, nil
}

// progress tells of the drawings that run.
func (s *Server) progress(r *http.Request) (any, error) {
	c := &s.current
	c.mu.Lock()
	defer c.mu.Unlock()
	step, steps, jobs := 0, 0, 0
	var since time.Time
	var preview []byte
	for _, id := range slices.Sorted(maps.Keys(c.jobs)) {
		j := c.jobs[id]
		jobs++
		step, steps = step+j.step, steps+j.steps
		if since.IsZero() {
			since = j.since
		}
		if j.preview != nil {
			preview = j.preview
		}
	}
	progress, eta := 0.0, 0.0
	if steps > 0 {
		progress = min(float64(step)/float64(steps), 0.99)
	}
	if progress > 0 {
		eta = time.Since(since).Seconds() * (1 - progress) / progress
	}
	job := ""
	if jobs > 0 {
		job = fmt.Sprintf("%d drawings", jobs)
	}
	var image any
	if preview != nil && r.URL.Query().Get("skip_current_image") != "true" {
		image = base64.StdEncoding.EncodeToString(preview)
	}
	return map[string]any{"progress": progress, "eta_relative": eta, "current_image": image, "textinfo": nil,
		"state": map[string]any{"skipped": false, "interrupted": false, "stopping_generation": false, "job": job, "job_count": jobs, "job_no": 0,
			"job_timestamp": since.UTC().Format("20060102150405"), "sampling_step": step, "sampling_steps": steps}}, nil
}

// webOptions is the options object: what there is is said, nothing of it can be changed.
func (s *Server) webOptions() map[string]any {
	return map[string]any{"sd_model_checkpoint": s.o.Names.SD, "sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1,
		"samples_format": "png", "interrogate_keep_models_in_memory": true}
}

// setOptions takes what changes nothing, and refuses the rest by name: open-webui writes
// the whole object back.
func (s *Server) setOptions(r *http.Request) (any, error) {
	var q map[string]any
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	have := s.webOptions()
	for _, name := range slices.Sorted(maps.Keys(q)) {
		v := q[name]
		if n, ok := v.(float64); ok && n == float64(int(n)) {
			v = int(n)
		}
		if want, ok := have[name]; !ok || v != want {
			if name == "sd_model_checkpoint" {
				text, _ := v.(string)
				if err := known(text, s.o.Names.SD); err != nil || text == "" {
					return nil, err
				}
				continue
			}
			return nil, wrong(name, "cannot be set to %v here", v)
		}
	}
	return nil, nil
}

// pngInfo tells how a PNG was drawn.
func (s *Server) pngInfo(r *http.Request) (any, error) {
	var q struct {
		Image string `json:"image"`
	}
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(q.Image[strings.LastIndex(q.Image, ",")+1:])
	if err != nil {
		return nil, wrong("image", "this is no base64")
	}
	d, err := parameters.Read(strings.NewReader(string(data)))
	if errors.Is(err, parameters.ErrNone) {
		return map[string]any{"info": "", "items": map[string]any{}, "parameters": map[string]any{}}, nil
	}
	if err != nil {
		return nil, wrong("image", "%v", err)
	}
	return map[string]any{"info": d.String(), "items": map[string]any{"parameters": d.String()}, "parameters": map[string]any{
		"Prompt": d.Prompt, "Negative prompt": d.NegativePrompt, "Steps": d.Steps, "Sampler": parameters.SamplerName(d.Sampler),
		"CFG scale": d.Guidance, "Seed": d.Seed, "Size-1": d.Width, "Size-2": d.Height}}, nil
}
