package convert

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"parley/engine"
	"parley/weights"
	"parley/weights/safetensors"
)

// TestOtherTasks: what is known and not read is named.
func TestOtherTasks(t *testing.T) {
	of := func(names ...string) []weights.Entry {
		var list []weights.Entry
		for _, n := range names {
			list = append(list, entry(n, 1))
		}
		return list
	}
	const vit, hf = "visual_encoder.blocks.0.attn.qkv.weight", "vision_model.encoder.layers.0.self_attn.qkv.weight"
	for want, sets := range map[string][][]weights.Entry{
		"a BLIP for visual question answering": {of(vit, "text_encoder.x", "text_decoder.x"), of(hf, "text_encoder.x", "text_decoder.x")},
		"a BLIP for retrieval": {of(vit, "text_encoder.x", "itm_head.weight"), of(hf, "text_encoder.x",
			"itm_head.weight")},
		"a BLIP for feature extraction": {of(hf, "text_model.x", "visual_projection.weight")},
		"a BLIP-2":                      {of("qformer.x", "language_model.x")},
		"visual reasoning":              {of(vit, "text_encoder.encoder.layer.0.crossattention.self0.query.weight")},
		"a SigLIP":                      {of("vision_model.head.probe", "text_model.x", "logit_bias")},
		"whose vision tower is of timm": {of("visual.trunk.x", "text.x")},
		"a CLIP with a ResNet":          {of("visual.layer1.0.conv1.weight")},
		"a CoCa":                        {of("visual.conv1.weight", "text_decoder.x")},
		"BERT, RoBERTa or T5": {of("visual.conv1.weight", "text.transformer.embeddings.x"), of("vision_model.x",
			"text_model.encoder.layer.0.x")},
		"a LoRA": {of("lora_unet_down_blocks_0.lora_up.weight"), of("lora_te_text_model.alpha"), of("unet.x.lora_A.weight"),
			of("unet.x.processor.to_q_lora.down.weight"), of("base_model.model.x.lora_B.default.weight"), of("lora_te1_x.hada_w1_a")},
		"a Stable Diffusion XL checkpoint": {of(ldm+"out.0.bias", "conditioner.embedders.0.x"), of("conv_in.weight",
			"time_embedding.x", "add_embedding.x")},
		"a Stable Diffusion 3": {of(ldm + "joint_blocks.0.x")},
		"a Flux":               {of("double_blocks.0.x")},
		"a ControlNet":         {of("control_model.x"), of("controlnet_cond_embedding.x")},
		"a textual inversion":  {of("emb_params"), of("<cat-toy>")},
		"depth2img": {of(ldm+"x", "depth_model.x"), {entry("conv_in.weight", 4, 5, 3, 3),
			entry("time_embedding.x", 1)}},
		"an upscaler": {of(ldm+"x", "low_scale_model.x"), {entry(ldm+"input_blocks.0.0.weight", 4, 7, 3, 3)}},
		"an inpainting checkpoint": {{entry(ldm+"input_blocks.0.0.weight", 4, 9, 3, 3)}, {entry("conv_in.weight", 4, 9, 3, 3),
			entry("time_embedding.x", 1)},
			{entry("module._orig_mod.input_blocks.0.0.weight", 4, 9, 3, 3)}},
		"an InstructPix2Pix": {{entry(ldm+"input_blocks.0.0.weight", 4, 8, 3, 3)}},
		"EDM":                {of(ldm+"x", "edm_vpred.sigma_max")},
	} {
		for i, list := range sets {
			_, err := Canonical(weights.NewSet(list))
			var task *TaskError
			if !errors.As(err, &task) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f is a") {
				t.Errorf("%d: have %v, want %s", i, err, want)
			}
		}
	}
	lora := weights.NewSet(of("x"))
	lora.Metadata = map[string]string{"modelspec.architecture": "stable-diffusion-v1/lora"}
	if _, err := Canonical(lora); err == nil || !strings.Contains(err.Error(), "stable-diffusion-v1/lora") {
		t.Errorf("have %v", err)
	}
	// Pretraining has the heads of all tasks, and is a captioner.
	if err := refuse(weights.NewSet(of(vit, "text_encoder.x", "text_decoder.x", "itm_head.weight", "vision_proj.weight",
		"image_queue"))); err != nil {
		t.Errorf("pretraining: %v", err)
	}
}

func TestPipelineIndex(t *testing.T) {
	read := func(text string) (Pipeline, error) {
		return ReadPipeline(fstest.MapFS{"m/model_index.json": {Data: []byte(text)}}, "m")
	}
	p, err := read(`{"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers",
		"UNet2DConditionModel"],
		"safety_checker": [null, null], "image_encoder": [null, null], "feature_extractor": ["transformers", "CLIPImageProcessor"]}`)
	if err != nil || p.Scheduler != "DDIMScheduler" {
		t.Fatalf("have %+v, %v", p, err)
	}
	c := weights.Config{"_class_name": "PNDMScheduler", "steps_offset": 0, "clip_sample": true}
	if p.Complete(c); c["_class_name"] != "DDIMScheduler" || c["steps_offset"] != 1 || c["clip_sample"] != false {
		t.Errorf("have %v", c)
	}
	for text, want := range map[string]string{
		`{"_class_name": "StableDiffusionInpaintPipeline"}`:    "an inpainting checkpoint (StableDiffusionInpaintPipeline)",
		`{"_class_name": "StableDiffusionXLPipeline"}`:         "a Stable Diffusion XL",
		`{"vae": ["diffusers", "AutoencoderTiny"]}`:            "whose vae is a AutoencoderTiny",
		`{"unet": ["diffusers", "UNet3DConditionModel"]}`:      "whose unet is a UNet3DConditionModel",
		`{"text_encoder": ["transformers", "T5EncoderModel"]}`: "whose text_encoder is a T5EncoderModel",
		`{"controlnet": ["diffusers", "ControlNetModel"]}`:     "with a controlnet",
		`{"scheduler": 7}`: "scheduler: have 7",
		`<!DOCTYPE html>`:  "an HTML or XML page",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(),
			"model_index.json") {
			t.Errorf("%s: have %v, want %s", text, err, want)
		}
	}
	if p, err := ReadPipeline(fstest.MapFS{}, "."); err != nil || p.Scheduler != "" {
		t.Errorf("without: have %+v, %v", p, err)
	}
}

// TestPublishedTextLayout: of Stable Diffusion 2's text encoder, block 23 alone
// is left out, whether it is there or not.
func TestPublishedTextLayout(t *testing.T) {
	for blocks, want := range map[int]int{24: 23, 23: 23, 3: 2} {
		list := []weights.Entry{entry(ldm+"input_blocks.0.0.weight", 4, 4, 3, 3),
			entry("cond_stage_model.model.token_embedding.weight", 9, 4)}
		for i := range blocks {
			for _, n := range []string{"ln_1.weight", "ln_2.weight"} {
				list = append(list, entry("cond_stage_model.model.transformer.resblocks."+string(rune('0'+i/10))+string(rune('0'+i%10))+"."+n, 4))
			}
		}
		for i := range list { // "07" is 7
			list[i].Name = strings.Replace(list[i].Name, "resblocks.0", "resblocks.", 1)
			list[i].Name = strings.Replace(list[i].Name, "resblocks..", "resblocks.0.", 1)
		}
		set := weights.NewSet(list)
		parts, err := Canonical(set)
		if err != nil {
			t.Fatal(err)
		}
		if have := lastBlock(parts[TextEncoder], "encoder.layers.") + 1; have != want {
			t.Errorf("%d blocks: %d are used, want %d", blocks, have, want)
		}
		if said := len(set.Notes()) > 0; said != (blocks == 3) {
			t.Errorf("%d blocks: notes %q", blocks, set.Notes())
		}
	}
}

// TestTwoStyles: a tensor under two names is one where both agree, whatever
// their formats.
func TestTwoStyles(t *testing.T) {
	half, full := entry("text_model.final_layer_norm.bias", 2), entry("final_layer_norm.bias", 2)
	full.DType, full.Data = "F32", make([]byte, 8)
	table := entry("embeddings.token_embedding.weight", 2, 2)
	parts, err := Canonical(weights.NewSet([]weights.Entry{half, full, table}))
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := parts[TextEncoder].Entry("final_layer_norm.bias"); !ok || e.DType != "F32" {
		t.Errorf("have %v, %v; want the wider one", e.DType, ok)
	}
	full.Data[3] = 0x3f
	if _, err := Canonical(weights.NewSet([]weights.Entry{half, full, table})); err == nil || !strings.Contains(err.Error(),
		"a second tensor for final_layer_norm.bias, which differs") {
		t.Errorf("have %v", err)
	}
	// torch.compile's prefix, anywhere in a name.
	one, two := entry("_orig_mod.text_model.final_layer_norm.bias", 2), entry("text_model.final_layer_norm.bias", 2)
	table.Name = "_orig_mod." + table.Name
	if parts, err = Canonical(weights.NewSet([]weights.Entry{one, two, table})); err != nil || parts[TextEncoder].Len() != 2 {
		t.Errorf("have %v", err)
	}
	two.Data = []byte{1, 2, 3, 4}
	if _, err = Canonical(weights.NewSet([]weights.Entry{one, two, table})); err == nil || !strings.Contains(err.Error(), "that differ") {
		t.Errorf("have %v", err)
	}
}

// TestMarks: what a file says of its prediction beside its weights is read.
func TestMarks(t *testing.T) {
	unet := func(meta map[string]string, more ...weights.Entry) *weights.Set {
		s := weights.NewSet(append(more, entry(ldm+"input_blocks.0.0.weight", 4, 4, 3, 3)))
		s.Metadata = meta
		return s
	}
	empty := func(name string) weights.Entry { return entry(name, 0) }
	for _, c := range []struct {
		set    *weights.Set
		assume Assume
		want   string
		class  string
	}{
		{unet(nil), Assume{}, "epsilon", "PNDMScheduler"},
		{unet(nil, empty("v_pred")), Assume{}, "v_prediction", "PNDMScheduler"},
		{unet(nil, empty("v_pred"), empty("ztsnr")), Assume{}, "v_prediction", "DDIMScheduler"},
		{unet(nil, empty("v_pred")), Assume{Prediction: "epsilon"}, "epsilon", "PNDMScheduler"},
		{unet(map[string]string{"modelspec.prediction_type": "v"}), Assume{}, "v_prediction", "PNDMScheduler"},
		{unet(map[string]string{"modelspec.prediction_type": "epsilon"}), Assume{}, "epsilon", "PNDMScheduler"},
		{unet(map[string]string{"modelspec.architecture": "stable-diffusion-v2-768-v"}), Assume{}, "v_prediction", "PNDMScheduler"},
	} {
		parts, err := Canonical(c.set)
		if err != nil {
			t.Fatal(err)
		}
		s := c.assume.Scheduler(parts[UNet])
		if s[predictionType] != c.want || s["_class_name"] != c.class || s["clip_sample"] != false || s["steps_offset"] != 1 {
			t.Errorf("%v %+v: have %v", c.set.Metadata, c.assume, s)
		}
		if c.class == "DDIMScheduler" && (s["rescale_betas_zero_snr"] != true || s["timestep_spacing"] != "trailing") {
			t.Errorf("have %v", s)
		}
	}
}

// TestConvertedScheduler: convert writes what is used of a folder's scheduler.
func TestConvertedScheduler(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	if err := Convert(ctx, "testdata/ldm_sd1.safetensors", one, Options{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(one, "scheduler", "scheduler_config.json")
	if err := os.WriteFile(file, []byte(`{"_class_name": "PNDMScheduler", "lambda_min_clipped": -Infinity, "steps_offset": 0}`),
		0o600); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(one, "model_index.json")
	c, err := weights.ReadConfig(os.DirFS(one), "model_index.json")
	if err != nil {
		t.Fatal(err)
	}
	c["scheduler"] = []string{"diffusers", "DPMSolverMultistepScheduler"}
	if err := writeJSON(index, c); err != nil {
		t.Fatal(err)
	}
	if err := Convert(ctx, one, two, Options{}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(two, "scheduler", "scheduler_config.json"))
	want := "{\n  \"_class_name\": \"DPMSolverMultistepScheduler\",\n  \"clip_sample\": false,\n  \"lambda_min_clipped\": -Infinity,\n  " +
		"\"steps_offset\": 1\n}\n"
	if err != nil || string(data) != want {
		t.Errorf("have %s, %v", data, err)
	}
	if err := os.RemoveAll(filepath.Join(one, "vae")); err != nil {
		t.Fatal(err)
	}
	if err := Convert(ctx, one, filepath.Join(dir, "three"), Options{}); err == nil || !strings.Contains(err.Error(),
		"no vae: there is no folder vae/") {
		t.Errorf("have %v", err)
	}
}

// stopping is a context that ends after so many looks at it.
type stopping struct {
	context.Context
	looks int
}

func (s *stopping) Err() error {
	if s.looks--; s.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestStopped: whenever it is stopped, convert leaves nothing, and it removes
// what a killed run has left.
func TestStopped(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "big.safetensors")
	set, err := weights.Open("testdata/openai_clip.pt")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	list := set.Entries()
	for i, e := range list {
		if e.Name == "token_embedding.weight" { // several pieces
			list[i].Shape = engine.Shape{8 << 20 / e.Shape[1], e.Shape[1]}
			list[i].Data = make([]byte, 16<<20)
			list[i].DType = "F16"
		}
	}
	if err := safetensors.WriteFile(src, list); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, ".parley-"+strings.Repeat("5e", 16)+".part")
	if err := os.MkdirAll(filepath.Join(left, "unet"), 0o700); err != nil {
		t.Fatal(err)
	}
	stops := 0
	for looks := 0; ; looks++ {
		err := Convert(&stopping{context.Background(), looks}, src, filepath.Join(dir, "out"), Options{DType: "F32"})
		if err == nil {
			break
		}
		stops++
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d looks: %v", looks, err)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
			t.Fatalf("after %d looks: left %v, %v", looks, names, err)
		}
		if looks > 5 {
			looks += looks
		}
	}
	if stops < 5 {
		t.Errorf("it looks only %d times", stops)
	}
	// A folder that comes while it works is left as it is.
	if err := Convert(context.Background(), src, filepath.Join(dir, "out"), Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("have %v", err)
	}
}

// TestQuantisedIsNotPassed: what is no number is not written as what was asked
// for.
func TestQuantisedIsNotPassed(t *testing.T) {
	path := edited(t, "openai_clip.pt", "q.safetensors", func(name string) string {
		if name == "visual.ln_pre.bias" {
			return ""
		}
		return name
	}, weights.Entry{Name: "visual.ln_pre.bias", DType: "I8", Shape: engine.Shape{8}, Data: make([]byte, 8)})
	err := Convert(context.Background(), path, filepath.Join(t.TempDir(), "x"), Options{DType: "f16"})
	if err == nil || !strings.Contains(err.Error(), "vision_model.pre_layrnorm.bias: have I8, which is not converted to F16") {
		t.Errorf("have %v", err)
	}
}

// TestChangedWhileConverted: a source that is written to meanwhile is an error.
func TestChangedWhileConverted(t *testing.T) {
	path := edited(t, "openai_clip.pt", "c.safetensors", func(name string) string { return name })
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x")
	touched := false
	err := Convert(context.Background(), path, out, Options{Note: func(string) { touched = true }})
	if err != nil || !touched {
		t.Fatalf("have %v, %v", err, touched)
	}
	set, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var changed *safetensors.ChangedError
	if err := (writer{}).done(set, nil); !errors.As(err, &changed) {
		t.Errorf("have %v", err)
	}
}
