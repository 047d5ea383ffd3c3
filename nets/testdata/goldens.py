# Makes the small random models that the tests of nets read, with inputs and
# with what transformers and diffusers compute from them in float64. Run in
# this folder:  python goldens.py && go run ../../weights/packed/pack */*.safetensors
#
# torch==2.9.0 (unet_middleless, unet_plain, unet_ragged, unet_dropped: 2.15.0) transformers==5.23.0 diffusers==0.42.1 safetensors==0.8.0
import os, shutil
import torch
from safetensors.torch import load_file, save_file
from transformers import BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel
from diffusers import AutoencoderKL, LatentConsistencyModelPipeline, UNet2DConditionModel

HERE = os.path.dirname(os.path.abspath(__file__))


def randomise(model, seed):
    """Gives every layer weights that keep its input's size, and norms and
    biases that matter. All values are exact in float16."""
    g = torch.Generator().manual_seed(seed)
    normal = lambda t, mean, std: t.copy_((torch.randn(t.shape, generator=g) * std + mean).half().float())
    with torch.no_grad():
        for name, m in sorted(model.named_modules()):
            own = dict(m.named_parameters(recurse=False))
            norm = "Norm" in type(m).__name__
            for key, p in sorted(own.items()):
                if norm:
                    normal(p, 1.0 if key == "weight" else 0.0, 0.2)
                elif key == "bias":
                    normal(p, 0, 0.2)
                elif isinstance(m, (torch.nn.Linear, torch.nn.Conv2d)):
                    normal(p, 0, 1.3 * p[0].numel() ** -0.5)
                else:
                    normal(p, 0, 0.7)
    model.eval()
    return g


def save(model, name, half, inputs, outputs, rename=None):
    out = os.path.join(HERE, name)
    shutil.rmtree(out, ignore_errors=True)
    model.float().save_pretrained(out)
    for f in os.listdir(out):
        if f.endswith(".safetensors"):
            path = os.path.join(out, f)
        elif f != "config.json":
            os.remove(os.path.join(out, f))
    tensors = load_file(path)
    if rename:
        tensors = {rename(k): v for k, v in tensors.items()}
    # Half the bytes, the same values.
    save_file({k: v.half() if half else v for k, v in tensors.items()}, path, {"format": "pt"})
    golden = {"in." + k: v.int() if v.dtype == torch.int64 else v for k, v in inputs.items()}
    golden |= {"out." + k: v.detach().float() for k, v in outputs.items()}
    save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(out, "golden.safetensors"))


class Taps:
    """Outputs of inner modules. Feature maps become [N, H, W, C]."""

    def __init__(self, model, names):
        self.out = {}
        modules = dict(model.named_modules())
        for name in names:
            modules[name].register_forward_hook(lambda m, args, y, name=name: self.keep(name, y))

    def keep(self, name, y):
        if not isinstance(y, torch.Tensor):
            y = y[0]
        self.out["tap." + name] = last(y) if y.dim() == 4 else y


def last(x):
    return x.permute(0, 2, 3, 1)


def pixels(g, *shape):
    return torch.randn(shape, generator=g)


def clip(name, seed, eos, text, vision, projection, length, half=True):
    vocab = 61
    config = CLIPConfig(
        text_config=dict(vocab_size=vocab, max_position_embeddings=16, eos_token_id=eos, bos_token_id=vocab - 2, pad_token_id=1, **text),
        vision_config=vision, projection_dim=projection)
    config._attn_implementation = "sdpa"
    model = CLIPModel(config)
    g = randomise(model, seed)
    size = vision["image_size"]
    x = pixels(g, 2, 3, size, size)
    ids = torch.randint(3, vocab - 2, (3, length), generator=g)
    end = vocab - 1 if eos == 2 else eos
    ids[:, 0] = vocab - 2
    for row, at in enumerate([length - 1, 2, length // 2]):
        ids[row, at:] = end
    model.double()
    taps = Taps(model, ["text_model.encoder.layers.0", "vision_model.encoder.layers.0", "vision_model.embeddings"])
    o = model(input_ids=ids, pixel_values=x.double())
    # The towers themselves: in the whole model's output pooled is projected.
    t, v = model.text_model(input_ids=ids), model.vision_model(pixel_values=x.double())
    save(model, name, half, {"ids": ids, "pixels": last(x)}, {
        "text.hidden": t.last_hidden_state, "text.pooled": t.pooler_output, "text.embeds": o.text_embeds,
        "vision.hidden": v.last_hidden_state, "vision.pooled": v.pooler_output, "vision.embeds": o.image_embeds} | taps.out)


def blip(name, seed, text, vision, length, rows, tie=True):
    vocab = 53
    config = BlipConfig(text_config=dict(vocab_size=vocab, max_position_embeddings=24, bos_token_id=vocab - 2, sep_token_id=2,
                                         pad_token_id=0, encoder_hidden_size=vision["hidden_size"], **text),
                        vision_config=vision, tie_word_embeddings=tie)
    config.text_config.tie_word_embeddings = tie
    model = BlipForConditionalGeneration(config)
    g = randomise(model, seed)
    size = vision["image_size"]
    x = pixels(g, 2, 3, size, size)
    ids = torch.randint(3, vocab - 2, (rows, length), generator=g)
    ids[:, 0] = vocab - 2
    model.double()
    taps = Taps(model, ["vision_model.encoder.layers.0", "text_decoder.bert.encoder.layer.0"])
    hidden = model.vision_model(pixel_values=x.double()).last_hidden_state
    logits = model.text_decoder(input_ids=ids, encoder_hidden_states=hidden.repeat_interleave(rows // 2, 0)).logits
    save(model, name, True, {"ids": ids, "pixels": last(x)}, {"hidden": hidden, "logits": logits} | taps.out)


def unet(name, seed, h, w, times, length, half, taps, guidance=None, **config):
    model = UNet2DConditionModel(in_channels=4, out_channels=4, sample_size=8, **config)
    g = randomise(model, seed)
    x = pixels(g, len(times), 4, h, w)
    context = torch.randn(len(times), length, config["cross_attention_dim"], generator=g)
    t = torch.tensor(times, dtype=torch.float32)
    model.double()
    taps = Taps(model, taps)
    inputs, cond = {"sample": last(x), "timesteps": t, "context": context}, None
    if guidance is not None:
        inputs["guidance"] = torch.tensor(guidance)
        cond = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, inputs["guidance"] - 1, config["time_cond_proj_dim"]).double()
    y = model(x.double(), t.double(), encoder_hidden_states=context.double(), timestep_cond=cond).sample
    save(model, name, half, inputs, {"sample": last(y)} | taps.out)


def vae(name, seed, n, h, w, taps, rename=None, **config):
    levels = len(config["block_out_channels"])
    model = AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels, **config)
    g = randomise(model, seed)
    factor = 2 ** (levels - 1)
    x = pixels(g, n, 3, h * factor, w * factor)
    z = torch.randn(n, config["latent_channels"], h, w, generator=g)
    model.double()
    taps = Taps(model, taps)
    mean = model.encode(x.double()).latent_dist.mode()
    y = model.decode(z.double()).sample
    save(model, name, True, {"pixels": last(x), "latents": last(z)}, {"mean": last(mean), "pixels": last(y)} | taps.out, rename)


def old_attention(name):
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        name = name.replace("mid_block.attentions.0." + new + ".", "mid_block.attentions.0." + old + ".")
    return name


def main():
    tower = lambda width, inner, layers, heads, **more: dict(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads, **more)
    # OpenAI's kind: quick_gelu, and the end of a text is its highest id.
    clip("clip_quick", 1, 2, tower(24, 56, 2, 3, hidden_act="quick_gelu"),
         tower(40, 72, 3, 5, hidden_act="quick_gelu", image_size=24, patch_size=8), 20, 16, half=False)
    clip("clip_gelu", 2, 60, tower(35, 50, 1, 5, hidden_act="gelu", layer_norm_eps=1e-2),
         tower(27, 31, 2, 3, hidden_act="gelu", image_size=14, patch_size=4), 9, 7)
    # open_clip's: an end in the middle of the vocabulary.
    clip("clip_mixed", 3, 17, tower(64, 128, 3, 1, hidden_act="gelu"),
         tower(48, 96, 1, 4, hidden_act="quick_gelu", image_size=20, patch_size=2), 33, 13)

    blip("blip_narrow", 11, tower(24, 40, 2, 3, hidden_act="gelu"),
         tower(40, 60, 2, 5, hidden_act="gelu", image_size=24, patch_size=8), 9, 2)
    blip("blip_wide", 12, tower(45, 64, 3, 5, hidden_act="gelu"),
         tower(27, 50, 1, 3, hidden_act="gelu", image_size=20, patch_size=4, layer_norm_eps=1e-3), 24, 6)
    blip("blip_untied", 13, tower(32, 33, 1, 4, hidden_act="gelu"),
         tower(48, 64, 3, 3, hidden_act="quick_gelu", image_size=16, patch_size=4), 5, 4, tie=False)

    down, attn = "DownBlock2D", "CrossAttnDownBlock2D"
    up, uattn = "UpBlock2D", "CrossAttnUpBlock2D"
    unet("unet_sd1", 21, 8, 24, [0.0, 981.0], 7, True,
         ["down_blocks.0.resnets.0", "mid_block.attentions.0", "up_blocks.1.resnets.2"],
         block_out_channels=(24, 40), layers_per_block=2, down_block_types=(attn, down), up_block_types=(up, uattn),
         cross_attention_dim=20, attention_head_dim=8, norm_num_groups=8)
    unet("unet_sd2", 22, 6, 4, [1.0, 500.0, 999.0], 11, True,
         ["down_blocks.1.resnets.0", "down_blocks.0.attentions.0", "up_blocks.0.upsamplers.0"],
         block_out_channels=(32, 32), layers_per_block=1, down_block_types=(attn, attn), up_block_types=(uattn, uattn),
         cross_attention_dim=24, attention_head_dim=[2, 4], norm_num_groups=32, use_linear_projection=True)
    unet("unet_odd", 23, 12, 8, [37.0, 640.0], 3, True,
         ["down_blocks.1.downsamplers.0", "mid_block.resnets.1", "up_blocks.2.attentions.1"],
         block_out_channels=(8, 24, 40), layers_per_block=1, down_block_types=(attn, down, attn), up_block_types=(uattn, up, uattn),
         cross_attention_dim=15, attention_head_dim=[1, 3, 5], norm_num_groups=8, use_linear_projection=True)
    unet("unet_deep", 24, 16, 8, [261.0, 0.0], 77, True,
         ["down_blocks.2.resnets.0", "down_blocks.3", "up_blocks.3.attentions.0.transformer_blocks.0"],
         block_out_channels=(8, 16, 16, 24), layers_per_block=1, down_block_types=(attn, attn, down, down), up_block_types=(up, up, uattn, uattn),
         cross_attention_dim=32, attention_head_dim=8, norm_num_groups=8, norm_eps=1e-2)

    unet("unet_flip", 25, 8, 12, [999.0, 12.5], 5, True,
         ["down_blocks.0.downsamplers.0", "mid_block.resnets.0"],
         block_out_channels=(12, 20), layers_per_block=1, down_block_types=(attn, down), up_block_types=(up, uattn),
         cross_attention_dim=9, attention_head_dim=4, norm_num_groups=4, flip_sin_to_cos=False, freq_shift=1, downsample_padding=0)

    # Distilled: no middle block, and nothing looks at the text on the way down;
    # and a middle of one residual block, with lists for what may be one number.
    unet("unet_middleless", 26, 8, 4, [3.0, 700.0], 4, True, ["down_blocks.1", "up_blocks.0.resnets.0"],
         block_out_channels=(8, 16), layers_per_block=1, down_block_types=(down, down), up_block_types=(uattn, uattn),
         cross_attention_dim=12, attention_head_dim=2, norm_num_groups=4, mid_block_type=None)
    unet("unet_plain", 27, 4, 8, [3.0, 700.0], 4, True, ["mid_block.resnets.0", "down_blocks.1.resnets.1"],
         block_out_channels=(8, 16), layers_per_block=[1, 2], down_block_types=(attn, attn), up_block_types=(uattn, up),
         cross_attention_dim=12, attention_head_dim=[1, 2], transformer_layers_per_block=[2, 1], norm_num_groups=4, mid_block_type="UNetMidBlock2D")

    # Maps of odd sizes, which come back by upsample_size; and where halving drops a row.
    unet("unet_ragged", 28, 7, 5, [3.0, 700.0], 4, True, ["down_blocks.1.downsamplers.0", "up_blocks.0.upsamplers.0", "up_blocks.1.upsamplers.0"],
         block_out_channels=(8, 16, 16), layers_per_block=1, down_block_types=(attn, attn, down), up_block_types=(up, uattn, uattn),
         cross_attention_dim=12, attention_head_dim=2, norm_num_groups=4)
    unet("unet_dropped", 29, 7, 10, [3.0, 700.0], 4, True, ["down_blocks.0.downsamplers.0", "up_blocks.0.upsamplers.0"],
         block_out_channels=(8, 16), layers_per_block=1, down_block_types=(attn, down), up_block_types=(up, uattn),
         cross_attention_dim=12, attention_head_dim=2, norm_num_groups=4, downsample_padding=0)

    # One that takes the guidance scale, of each sample its own.
    unet("unet_lcm", 30, 4, 8, [999.0, 259.0, 259.0], 4, True, ["down_blocks.0.resnets.0", "up_blocks.1.resnets.0"],
         guidance=[8.5, 1.0, 13.25], block_out_channels=(8, 8), layers_per_block=1, down_block_types=(attn, down), up_block_types=(up, uattn),
         cross_attention_dim=12, attention_head_dim=2, norm_num_groups=4, time_cond_proj_dim=37)

    vae("vae_three", 31, 2, 3, 5, ["encoder.mid_block", "decoder.up_blocks.0.resnets.1"],
        block_out_channels=(12, 20, 36), layers_per_block=1, latent_channels=4, norm_num_groups=4)
    vae("vae_old", 32, 1, 4, 6, ["encoder.down_blocks.0.downsamplers.0", "decoder.up_blocks.0.upsamplers.0"], old_attention,
        block_out_channels=(32, 32), layers_per_block=1, latent_channels=4, norm_num_groups=32, scaling_factor=0.5)
    vae("vae_deep", 33, 2, 2, 3, ["encoder.down_blocks.2.resnets.0", "decoder.mid_block"],
        block_out_channels=(8, 16, 16, 24), layers_per_block=2, latent_channels=3, norm_num_groups=8,
        use_quant_conv=False, use_post_quant_conv=False)


if __name__ == "__main__":
    main()
