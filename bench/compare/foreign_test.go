package compare

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"parley/bench/layers"
	"parley/bench/workload"
	"parley/engine/host"
)

// small is a round of a net's small preset.
func small(t *testing.T, net string) *layers.Result {
	t.Helper()
	set, err := workload.Open(workload.Options{Net: net, Preset: "small"}, host.New(1))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	results, err := layers.Measure(t.Context(), host.New(1), []*workload.Work{set.Of(1)}, layers.Options{Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

// TestBeside: the small UNet lies beside PyTorch's and ONNX Runtime's real traces of it,
// and no time is lost on either side.
func TestBeside(t *testing.T) {
	r := small(t, "unet")
	for file, program := range map[string]string{"testdata/torch.json.gz": "PyTorch", "testdata/onnx.json.gz": "ONNX Runtime"} {
		p, err := ReadProfile(file)
		if err != nil {
			t.Fatal(err)
		}
		if p.Program != program || p.Passes != 2 {
			t.Errorf("%s: %s, %d passes", file, p.Program, p.Passes)
		}
		rows := Beside(r, p)
		var sum, want [2]float64
		named := map[string]Row{}
		for _, x := range rows {
			sum[0], sum[1] = sum[0]+x.Ours, sum[1]+x.Theirs
			if _, twice := named[x.Path]; twice {
				t.Errorf("%s: %s twice", file, x.Path)
			}
			named[x.Path] = x
		}
		for _, l := range r.Layers {
			want[0] += l.Seconds
		}
		for _, v := range p.Own {
			want[1] += v
		}
		if math.Abs(sum[0]/want[0]-1) > 1e-9 || math.Abs(sum[1]/want[1]-1) > 1e-9 {
			t.Errorf("%s: sums %v, want %v", file, sum, want)
		}
		for _, path := range []string{"conv_in", "down_blocks.0.resnets.0.conv1", "down_blocks.0.attentions.0.proj_in",
			"mid_block.attentions.0.transformer_blocks.0.ff.net.2", "up_blocks.1.resnets.1.conv2", "up_blocks.0.upsamplers.0.conv", "conv_out"} {
			if program != "PyTorch" && path == "conv_out" {
				continue // it is called by its result there, "1481_nchwc"
			}
			if x := named[path]; !(x.Ours > 0) || !(x.Theirs > 0) || x.Rest {
				t.Errorf("%s: %s: %+v", file, path, x)
			}
		}
		if len(rows) < 60 {
			t.Errorf("%s: only %d rows", file, len(rows))
		}
		var b bytes.Buffer
		if err := BesideTable(&b, r, p, rows, 100); err != nil || !strings.Contains(b.String(), program) || !strings.Contains(b.String(),
			"the rest of") {
			t.Errorf("%v\n%s", err, b.String())
		}
	}
}

// TestByWeights: modules of vLLM's real profile, which have classes and no names, lie beside
// ours by the shapes of their weights, and no time is lost.
func TestByWeights(t *testing.T) {
	r := small(t, "clip-text")
	p, err := ReadProfile("testdata/vllm.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	var sum, want float64
	named := map[string]Row{}
	for _, x := range Beside(r, p) {
		sum += x.Theirs
		named[x.Path] = x
	}
	for _, v := range p.Own {
		want += v
	}
	if math.Abs(sum/want-1) > 1e-9 {
		t.Errorf("%v s of theirs, want %v", sum, want)
	}
	const layer = "text_model.encoder.layers.0."
	for path, rest := range map[string]bool{layer + "layer_norm1": false, layer + "self_attn.qkv": false, layer + "self_attn": true,
		layer + "self_attn.out_proj": false, layer + "mlp.fc1": false, layer + "mlp.fc2": false, "text_model.final_layer_norm": false,
		"text_projection": false} {
		if x := named[path]; !(x.Ours > 0) || !(x.Theirs > 0) || x.Rest != rest {
			t.Errorf("%s: %+v", path, x)
		}
	}
}

// TestAbove: what stands above the net on either side or both is passed over.
func TestAbove(t *testing.T) {
	tower := []string{"embeddings.patch", "encoder.layers.0.fc1", "encoder.layers.1.fc1", "norm"}
	under := func(prefix string, more ...string) (l []string) {
		for _, path := range tower {
			l = append(l, prefix+path)
		}
		return append(l, more...)
	}
	for name, c := range map[string]struct {
		ours, theirs         []string
		ourPrefix, thePrefix string
	}{
		"the same":          {under("vision."), under("vision."), "", ""},
		"above theirs":      {under("vision."), under("model.clip.vision.", "model.clip.text.encoder.layers.0.fc1"), "", "model.clip."},
		"above ours":        {under("vision."), under(""), "vision.", ""},
		"above both":        {under("vision.", "between"), under("net."), "vision.", "net."},
		"nothing in common": {under("vision."), []string{"a", "b.c"}, "", ""},
	} {
		if a, b := above(c.ours, c.theirs); a != c.ourPrefix || b != c.thePrefix {
			t.Errorf("%s: %q and %q, want %q and %q", name, a, b, c.ourPrefix, c.thePrefix)
		}
	}
	r := &layers.Result{Unit: layers.Seconds, Layers: []layers.Layer{{Path: "vision.encoder.fc1.linear", Op: "linear", Seconds: 1},
		{Path: "vision.norm", Op: "layernorm", Seconds: 1}}}
	rows := Beside(r, &Profile{Own: map[string]float64{"net.encoder.fc1": 2, "net.norm": 3}})
	if len(rows) != 2 || rows[0] != (Row{Path: "vision.norm", Ours: 1, Theirs: 3}) {
		t.Errorf("%+v", rows)
	}
}

// layerwise is in the form of vLLM's LayerwiseProfileResults.convert_stats_to_dict, of
// two phases.
const layerwise = `{"context": {}, "prefill": {"metadata": {"num_running_seqs": 1}, "summary_stats": [], "model_stats": [
{"entry": {"name": "LlamaForCausalLM", "cpu_time_us": 900, "cuda_time_us": 100, "pct_cuda_time": 100, "trace": ""}, "children": [
 {"entry": {"name": "LlamaDecoderLayer", "cpu_time_us": 1, "cuda_time_us": 60, "pct_cuda_time": 60, "trace": ""}, "children": [
  {"entry": {"name": "QKVParallelLinear(weight=float16[6144, 4096])", "cpu_time_us": 1, "cuda_time_us": 25, "pct_cuda_time": 25,
   "trace": ""},
   "children": []}]},
 {"entry": {"name": "LlamaDecoderLayer", "cpu_time_us": 1, "cuda_time_us": 30, "pct_cuda_time": 30, "trace": ""}, "children": []}]}]}}`

func TestVLLM(t *testing.T) {
	p, err := ParseProfile([]byte(layerwise))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]float64{"LlamaForCausalLM": 10, "LlamaForCausalLM.LlamaDecoderLayer.0": 35,
		"LlamaForCausalLM.LlamaDecoderLayer.0.QKVParallelLinear": 25, "LlamaForCausalLM.LlamaDecoderLayer.1": 30} {
		if have := 1e6 * p.Own[path]; math.Abs(have-want) > 1e-6 {
			t.Errorf("%s: %v us, want %v", path, have, want)
		}
	}
	// A net of the same names, without what stands above it.
	r := &layers.Result{Unit: layers.Seconds, Layers: []layers.Layer{{Path: "LlamaDecoderLayer.1.linear", Op: "linear", Seconds: 1},
		{Path: "LlamaDecoderLayer.0.QKVParallelLinear+bias.linear", Op: "linear", Seconds: 2}, {Path: "embed", Op: "embed", Seconds: 3}}}
	rows := Beside(r, p)
	i := slices.IndexFunc(rows, func(x Row) bool { return x.Path == "LlamaDecoderLayer.0.QKVParallelLinear" })
	if i < 0 || rows[i].Ours != 2 || math.Abs(rows[i].Theirs-25e-6) > 1e-12 {
		t.Errorf("%+v", rows)
	}
}

// TestNested: an annotation within another is taken from it, on its own thread.
func TestNested(t *testing.T) {
	p, err := ParseProfile([]byte(`{"traceEvents": [
{"cat": "user_annotation", "ph": "X", "name": "a", "ts": 0, "dur": 100, "pid": 1, "tid": 1},
{"cat": "user_annotation", "ph": "X", "name": "a.b", "ts": 10, "dur": 30, "pid": 1, "tid": 1},
{"cat": "user_annotation", "ph": "X", "name": "a.c", "ts": 40, "dur": 20, "pid": 1, "tid": 1},
{"cat": "user_annotation", "ph": "X", "name": "d", "ts": 20, "dur": 5, "pid": 1, "tid": 2},
{"cat": "user_annotation", "ph": "X", "name": "ProfilerStep#1", "ts": 0, "dur": 1000, "pid": 1, "tid": 1},
{"cat": "cpu_op", "ph": "X", "name": "aten::conv2d", "ts": 11, "dur": 5, "pid": 1, "tid": 1}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"a": 50, "a.b": 30, "a.c": 20, "d": 5}
	for path, v := range want {
		if math.Abs(1e6*p.Own[path]-v) > 1e-6 || len(p.Own) != len(want) {
			t.Errorf("%v, want %v", p.Own, want)
		}
	}
}

func TestForeignNonsense(t *testing.T) {
	for text, want := range map[string]string{"": "PyTorch", "[]": "ONNX", "{}": "vLLM", `{"traceEvents": []}`: "traces.py", "[{}]": "ONNX",
		`{"model_stats": []}`: "no modules", `{"model_stats": 3}`: "vLLM", `{"prefill": {}}`: "vLLM", "\x00": "PyTorch"} {
		if _, err := ParseProfile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
