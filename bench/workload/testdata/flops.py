"""Counts FLOPs of the published models with torch's own counter, over transformers' and
diffusers' modules on the meta device: flops.json.

    pip install torch==2.9.0 diffusers==0.42.1 transformers==5.23.0
    python flops.py > flops.json

A multiply-add is two FLOPs. "products" are those with weights, "attention" those of
queries with keys and of what follows with values; a causal one counts all of its pairs
here. One sample of the size that each model is for, of a UNet without guidance. "caption"
is 20 tokens of a picture, four of them a prompt, by a cache: of the prompt only the last
token's logits are made.
"""

import json
import sys

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import (BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel,
                          DynamicCache, EncoderDecoderCache)

CROSS = dict(
    in_channels=4, out_channels=4, freq_shift=0, flip_sin_to_cos=True, norm_num_groups=32,
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    block_out_channels=(320, 640, 1280, 1280), layers_per_block=2)
SD21 = dict(cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)
UNETS = {"sd15": dict(sample_size=64, cross_attention_dim=768, attention_head_dim=8), "sd21": dict(sample_size=64, **SD21),
         "sd21v": dict(sample_size=96, **SD21)}
VAE = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, norm_num_groups=32, sample_size=512,
           down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
QUICK, GELU = dict(hidden_act="quick_gelu"), dict(hidden_act="gelu")
L14 = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, **QUICK)
H14 = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, **GELU)
CLIPS = {
    "clip-b32": (dict(hidden_size=512, num_hidden_layers=12, num_attention_heads=8, intermediate_size=2048, **QUICK),
                 dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, patch_size=32, **QUICK), 512),
    "clip-l14": (L14, dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, patch_size=14,
                           **QUICK), 768),
    "clip-h14": (H14, dict(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, intermediate_size=5120, patch_size=14,
                           **GELU), 1024),
}
BLIPS = {"blip-base": {}, "blip-large": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)}
TOKENS, PROMPT = 20, 4


def count(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    n = {"products": 0, "attention": 0}
    for op, flops in counter.get_flop_counts()["Global"].items():
        name = str(op)
        n["attention" if "bmm" in name or "attention" in name else "products"] += flops
    return n


def caption(m, image):
    text, seen = m.text_decoder, m.vision_model(pixel_values=image).last_hidden_state
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    length = PROMPT
    for _ in range(PROMPT, TOKENS):
        out = text.bert(input_ids=torch.zeros(1, length, dtype=torch.long), encoder_hidden_states=seen, past_key_values=cache,
                        use_cache=True, is_decoder=True)
        text.cls(out.last_hidden_state[:, -1:])
        length = 1


def main():
    found, ids = {}, lambda: torch.zeros(1, 77, dtype=torch.long)
    with torch.device("meta"):
        for name, c in UNETS.items():
            unet, side = UNet2DConditionModel(**CROSS, **c).eval(), c["sample_size"]
            text = torch.zeros(1, 77, c["cross_attention_dim"])
            found["unet " + name] = count(lambda: unet(torch.zeros(1, 4, side, side), torch.zeros(1), text))
        vae = AutoencoderKL(**VAE).eval()
        for name, side in ("sd15", 512), ("sd21", 512), ("sd21v", 768):
            found["vae-decode " + name] = count(lambda: vae.decode(torch.zeros(1, 4, side // 8, side // 8)))
            found["vae-encode " + name] = count(lambda: vae.encode(torch.zeros(1, 3, side, side)))
        for name, c in ("sd15", L14), ("sd21", dict(H14, num_hidden_layers=23)):
            text = CLIPTextModel(CLIPTextConfig(**c, attn_implementation="eager")).eval()
            found["text-encoder " + name] = count(lambda: text(ids()))
        for name, (text, vision, width) in CLIPS.items():
            clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width, attn_implementation="eager")).eval()
            found["clip-text " + name] = count(lambda: clip.get_text_features(ids()))
            found["clip-image " + name] = count(lambda: clip.get_image_features(torch.zeros(1, 3, 224, 224)))
        for name, vision in BLIPS.items():
            image = torch.zeros(1, 3, 384, 384)
            blip = BlipForConditionalGeneration(BlipConfig(
                vision_config=dict(image_size=384, **vision), text_config=dict(
                    encoder_hidden_size=vision.get("hidden_size", 768), vocab_size=30524, num_attention_heads=12,
                    attn_implementation="eager"))).eval()
            found["blip-vision " + name] = count(lambda: blip.vision_model(pixel_values=image))
            found["blip-generate " + name] = count(lambda: caption(blip, image))
    json.dump({"torch": torch.__version__.split("+")[0], "diffusers": diffusers.__version__, "transformers": transformers.__version__,
               "flops": found}, sys.stdout, indent=1)
    print()


main()
