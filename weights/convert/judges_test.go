package convert

import (
	"fmt"
	"strings"
	"testing"

	"parley/engine"
	"parley/weights"
)

// TestDINO: DINO's own names become transformers', and the configuration that its
// files do not have is told by the shapes.
func TestDINO(t *testing.T) {
	set, err := weights.Open("../../nets/testdata/vit_small")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var list []weights.Entry
	for _, e := range set.Entries() {
		name := strings.NewReplacer("embeddings.cls_token", "cls_token", "embeddings.position_embeddings", "pos_embed",
			"embeddings.patch_embeddings.projection.", "patch_embed.proj.", "encoder.layer.", "blocks.", "layernorm_before.", "norm1.",
			"layernorm_after.", "norm2.", "attention.output.dense.", "attn.proj.", "intermediate.dense.", "mlp.fc1.",
			"output.dense.", "mlp.fc2.").Replace(e.Name)
		name = strings.Replace(name, "layernorm.", "norm.", 1)
		if strings.Contains(name, "attention.key.") || strings.Contains(name, "attention.value.") || strings.HasPrefix(name, "pooler.") {
			continue // beside the queries; not in DINO's
		}
		if strings.Contains(name, "attention.query.") {
			data := e.Data
			for _, part := range []string{"key", "value"} {
				other, _ := set.Entry(strings.Replace(e.Name, "query", part, 1))
				data = append(data[:len(data):len(data)], other.Data...)
			}
			e.Data, e.Shape = data, append(engine.Shape{3 * e.Shape[0]}, e.Shape[1:]...)
			name = strings.Replace(name, "attention.attention.query.", "attn.qkv.", 1)
		}
		e.Name = name
		list = append(list, e)
	}
	parts, err := Canonical(weights.NewSet(list))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range set.Entries() {
		have, ok := parts[ViT].Entry(want.Name)
		if !strings.HasPrefix(want.Name, "pooler.") && (!ok || !agree(have, want)) {
			t.Errorf("%s: have %v, want %v", want.Name, have.Shape, want.Shape)
		}
	}
	c, err := InferConfig(ViT, parts[ViT])
	if err != nil || c["hidden_size"] != 40 || c["image_size"] != 24 || c["patch_size"] != 8 || c["num_hidden_layers"] != 2 ||
		c["layer_norm_eps"] != 1e-6 || c["intermediate_size"] != 72 {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := Canonical(weights.NewSet(append(list, entry("blocks.0.ls1.gamma", 40)))); err == nil ||
		!strings.Contains(err.Error(), "blocks.0.ls1.gamma: a tensor that this layout does not have") {
		t.Errorf("with layer scale: %v", err)
	}
}

// TestBERTNames: with and without a prefix, and TensorFlow's for norms; and what
// cannot be told without a configuration.
func TestBERTNames(t *testing.T) {
	for _, prefix := range []string{"", "bert."} {
		parts, err := Canonical(weights.NewSet([]weights.Entry{entry(prefix+"embeddings.word_embeddings.weight", 3, 2),
			entry(prefix+"embeddings.LayerNorm.gamma", 2), entry(prefix+"embeddings.LayerNorm.beta", 2),
			entry(prefix+"embeddings.position_ids", 1, 9)}))
		if err != nil || fmt.Sprint(parts[BERT].Names()) !=
			"[embeddings.LayerNorm.bias embeddings.LayerNorm.weight embeddings.word_embeddings.weight]" {
			t.Errorf("%q: %v, %v", prefix, parts, err)
			continue
		}
		if _, err := InferConfig(BERT, parts[BERT]); err == nil || !strings.Contains(err.Error(), "its config.json is needed") {
			t.Errorf("without a configuration: %v", err)
		}
	}
	hf := weights.NewSet([]weights.Entry{entry("vit.embeddings.patch_embeddings.projection.weight", 2, 3, 1, 1), entry("classifier.bias", 1)})
	parts, err := Canonical(hf)
	if err != nil || parts[ViT].Len() != 1 {
		t.Fatalf("%v, %v", parts, err)
	}
	if _, err := InferConfig(ViT, parts[ViT]); err == nil || !strings.Contains(err.Error(), "its config.json is needed") {
		t.Errorf("a vision transformer without a configuration: %v", err)
	}
}
