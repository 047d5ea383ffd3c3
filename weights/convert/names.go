package convert

import (
	"fmt"
	"strconv"
	"strings"

	"parley/weights"
)

// swap replaces the first prefix of pairs that name has.
func swap(name string, pairs ...string) (string, bool) {
	for i := 0; i < len(pairs); i += 2 {
		if rest, ok := strings.CutPrefix(name, pairs[i]); ok {
			return pairs[i+1] + rest, true
		}
	}
	return name, false
}

// numbered splits "12.rest" after an optional prefix.
func numbered(name, prefix string) (n int, rest string, ok bool) {
	s, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, "", false
	}
	num, rest, ok := strings.Cut(s, ".")
	if !ok {
		return 0, "", false
	}
	n, err := strconv.Atoi(num)
	return n, rest, err == nil && n >= 0 && n < 10000
}

// textEncoder takes CLIPTextModel's names with and without "text_model.".
func textEncoder(name string) ([]rename, error) {
	return same(strings.TrimPrefix(name, "text_model."))
}

// hfVAE takes diffusers' names; before 0.15 the attention's were others, and its
// matrices 1x1 convolutions.
func hfVAE(name string) ([]rename, error) {
	if at := strings.Index(name, ".attentions."); at >= 0 {
		head, tail := name[:at+len(".attentions.")], name[at+len(".attentions."):]
		n, rest, ok := strings.Cut(tail, ".")
		if ok {
			rest, _ = swap(rest, "query.", "to_q.", "key.", "to_k.", "value.", "to_v.", "proj_attn.", "to_out.0.")
			return []rename{{to: head + n + "." + rest, matrix: strings.HasPrefix(rest, "to_") && strings.HasSuffix(rest, ".weight")}}, nil
		}
	}
	return same(name)
}

// ldmVAE takes the autoencoder of latent-diffusion.
func ldmVAE(set *weights.Set, prefix string) func(string) ([]rename, error) {
	levels := 0
	for _, name := range set.Names() {
		if i, _, ok := numbered(name, prefix+"decoder.up."); ok {
			levels = max(levels, i+1)
		}
	}
	return func(name string) ([]rename, error) {
		side, rest, ok := strings.Cut(name, ".")
		if side == "loss" || side == "model_ema" {
			return nil, nil
		}
		if side != "encoder" && side != "decoder" {
			if side == "quant_conv" || side == "post_quant_conv" {
				return same(name)
			}
			return nil, errName
		}
		if !ok {
			return nil, errName
		}
		if i, r, ok := numbered(rest, "down."); ok {
			return ldmVAEBlock(fmt.Sprintf("%s.down_blocks.%d.", side, i), r)
		}
		if i, r, ok := numbered(rest, "up."); ok {
			return ldmVAEBlock(fmt.Sprintf("%s.up_blocks.%d.", side, levels-1-i), r)
		}
		if r, ok := strings.CutPrefix(rest, "mid.attn_1."); ok {
			r, ok := swap(r, "norm.", "group_norm.", "q.", "to_q.", "k.", "to_k.", "v.", "to_v.", "proj_out.", "to_out.0.")
			if !ok {
				return nil, errName
			}
			matrix := strings.HasPrefix(r, "to_") && strings.HasSuffix(r, ".weight")
			return []rename{{to: side + ".mid_block.attentions.0." + r, matrix: matrix}}, nil
		}
		r, ok := swap(rest, "mid.block_1.", "mid_block.resnets.0.", "mid.block_2.", "mid_block.resnets.1.",
			"norm_out.", "conv_norm_out.", "conv_in.", "conv_in.", "conv_out.", "conv_out.")
		if !ok {
			return nil, errName
		}
		return to(side + "." + r)
	}
}

func ldmVAEBlock(block, rest string) ([]rename, error) {
	if j, r, ok := numbered(rest, "block."); ok {
		r, _ = swap(r, "nin_shortcut.", "conv_shortcut.")
		return to(fmt.Sprintf("%sresnets.%d.%s", block, j, r))
	}
	r, ok := swap(rest, "downsample.", "downsamplers.0.", "upsample.", "upsamplers.0.")
	if !ok {
		return nil, errName
	}
	return to(block + r)
}

// ldmUNet takes openaimodel.py's UNet, whose blocks are numbered through: after
// input block 0, the first convolution, each level has its layers and a
// downsampling.
func ldmUNet(set *weights.Set, prefix string) func(string) ([]rename, error) {
	first, last := 0, 0
	for _, name := range set.Names() {
		if i, rest, ok := numbered(name, prefix+"input_blocks."); ok {
			last = max(last, i)
			if strings.HasPrefix(rest, "0.op.") && (first == 0 || i < first) {
				first = i
			}
		}
	}
	stride := first // layers and the downsampling of a level
	if stride == 0 {
		stride = last + 1 // one level only
	}
	return func(name string) ([]rename, error) {
		if i, rest, ok := numbered(name, "input_blocks."); ok {
			if i == 0 {
				if r, ok := strings.CutPrefix(rest, "0."); ok {
					return to("conv_in." + r)
				}
				return nil, errName
			}
			block := fmt.Sprintf("down_blocks.%d.", (i-1)/stride)
			if r, ok := strings.CutPrefix(rest, "0.op."); ok {
				return to(block + "downsamplers.0.conv." + r)
			}
			return ldmUNetLayer(block, (i-1)%stride, rest)
		}
		if i, rest, ok := numbered(name, "output_blocks."); ok {
			block := fmt.Sprintf("up_blocks.%d.", i/stride)
			if r, ok := swap(rest, "1.conv.", "upsamplers.0.conv.", "2.conv.", "upsamplers.0.conv."); ok {
				return to(block + r)
			}
			return ldmUNetLayer(block, i%stride, rest)
		}
		if i, rest, ok := numbered(name, "middle_block."); ok {
			switch i {
			case 0, 2:
				return ldmUNetLayer("mid_block.", i/2, "0."+rest)
			case 1:
				return ldmUNetLayer("mid_block.", 0, "1."+rest)
			}
			return nil, errName
		}
		r, ok := swap(name, "time_embed.0.", "time_embedding.linear_1.", "time_embed.2.", "time_embedding.linear_2.",
			"time_embed.cond_proj.", "time_embedding.cond_proj.", "time_embedding.cond_proj.", "time_embedding.cond_proj.",
			"out.0.", "conv_norm_out.", "out.2.", "conv_out.")
		if !ok {
			return nil, errName
		}
		return to(r)
	}
}

func ldmUNetLayer(block string, layer int, rest string) ([]rename, error) {
	if r, ok := strings.CutPrefix(rest, "1."); ok {
		return to(fmt.Sprintf("%sattentions.%d.%s", block, layer, r))
	}
	r, ok := strings.CutPrefix(rest, "0.")
	if !ok {
		return nil, errName
	}
	r, ok = swap(r, "in_layers.0.", "norm1.", "in_layers.2.", "conv1.", "emb_layers.1.", "time_emb_proj.",
		"out_layers.0.", "norm2.", "out_layers.3.", "conv2.", "skip_connection.", "conv_shortcut.")
	if !ok {
		return nil, errName
	}
	return to(fmt.Sprintf("%sresnets.%d.%s", block, layer, r))
}

// captioner takes transformers' names of a captioner; a pretraining checkpoint
// has the parts of other tasks beside them.
func captioner(name string) ([]rename, error) {
	if strings.HasPrefix(name, "vision_model.") || strings.HasPrefix(name, "text_decoder.") {
		return same(name)
	}
	return nil, nil
}

// salesforceBLIP takes BLIP's own checkpoints; the decoder's names are the same.
func salesforceBLIP(name string) ([]rename, error) {
	rest, ok := strings.CutPrefix(name, "visual_encoder.")
	if !ok {
		if strings.HasPrefix(name, "text_decoder.") {
			return same(name)
		}
		return nil, nil // the parts of the other tasks, momentum copies
	}
	if i, r, ok := numbered(rest, "blocks."); ok {
		r, ok := swap(r, "attn.qkv.", "self_attn.qkv.", "attn.proj.", "self_attn.projection.",
			"norm1.", "layer_norm1.", "norm2.", "layer_norm2.", "mlp.", "mlp.")
		if !ok {
			return nil, errName
		}
		return to(fmt.Sprintf("vision_model.encoder.layers.%d.%s", i, r))
	}
	switch rest {
	case "cls_token":
		return to("vision_model.embeddings.class_embedding")
	case "pos_embed":
		return to("vision_model.embeddings.position_embedding")
	}
	r, ok := swap(rest, "patch_embed.proj.", "embeddings.patch_embedding.", "norm.", "post_layernorm.")
	if !ok {
		return nil, errName
	}
	return to("vision_model." + r)
}

// lastBlock is the highest block's number under a prefix, -1 without any.
func lastBlock(set *weights.Set, prefix string) int {
	last := -1
	for _, name := range set.Names() {
		if i, _, ok := numbered(name, prefix); ok {
			last = max(last, i)
		}
	}
	return last
}

// openCLIP takes the names of OpenAI's CLIP and of open_clip.
func openCLIP(name string) ([]rename, error) {
	switch name {
	case "input_resolution", "context_length", "vocab_size", "attn_mask", "logit_bias":
		return nil, nil
	case "logit_scale":
		return []rename{{to: name, scalar: true}}, nil
	case "text_projection", "text.text_projection":
		return []rename{{to: "text_projection.weight", transpose: true}}, nil
	case "visual.proj":
		return []rename{{to: "visual_projection.weight", transpose: true}}, nil
	case "visual.class_embedding":
		return to("vision_model.embeddings.class_embedding")
	case "visual.positional_embedding":
		return to("vision_model.embeddings.position_embedding.weight")
	case "visual.conv1.weight":
		return to("vision_model.embeddings.patch_embedding.weight")
	}
	rest, ok := strings.CutPrefix(name, "visual.")
	if !ok {
		return openText("text_model.", -1)(strings.TrimPrefix(name, "text."))
	}
	if i, r, ok := numbered(rest, "transformer.resblocks."); ok {
		return openBlock("vision_model.encoder.layers.", i, r)
	}
	r, ok := swap(rest, "ln_pre.", "pre_layrnorm.", "ln_post.", "post_layernorm.")
	if !ok {
		return nil, errName
	}
	return to("vision_model." + r)
}

// openText takes the text tower of open_clip; a dropped block is left out.
func openText(prefix string, dropped int) func(string) ([]rename, error) {
	return func(name string) ([]rename, error) {
		switch name {
		case "token_embedding.weight":
			return to(prefix + "embeddings.token_embedding.weight")
		case "positional_embedding":
			return to(prefix + "embeddings.position_embedding.weight")
		case "text_projection", "logit_scale", "attn_mask":
			return nil, nil // of no use without the vision tower
		}
		if i, r, ok := numbered(name, "transformer.resblocks."); ok {
			if i == dropped {
				return nil, nil
			}
			return openBlock(prefix+"encoder.layers.", i, r)
		}
		if r, ok := strings.CutPrefix(name, "ln_final."); ok {
			return to(prefix + "final_layer_norm." + r)
		}
		return nil, errName
	}
}

func openBlock(layers string, i int, rest string) ([]rename, error) {
	p := fmt.Sprintf("%s%d.", layers, i)
	if kind, ok := strings.CutPrefix(rest, "attn.in_proj_"); ok {
		return []rename{
			{to: p + "self_attn.q_proj." + kind, third: 1},
			{to: p + "self_attn.k_proj." + kind, third: 2},
			{to: p + "self_attn.v_proj." + kind, third: 3},
		}, nil
	}
	r, ok := swap(rest, "attn.out_proj.", "self_attn.out_proj.", "ln_1.", "layer_norm1.", "ln_2.", "layer_norm2.",
		"mlp.c_fc.", "mlp.fc1.", "mlp.c_proj.", "mlp.fc2.")
	if !ok {
		return nil, errName
	}
	return to(p + r)
}
