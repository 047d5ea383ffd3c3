"""Writes sd/, a tiny random Stable Diffusion, and goldens.safetensors: what diffusers' schedulers and nets make of it in float64.

Python 3.11, torch 2.9.0, transformers 5.23.0, diffusers 0.42.1, safetensors: python goldens.py && go run ../../../weights/packed/pack *.safetensors
"""
import os, shutil
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, LCMScheduler, PNDMScheduler, UNet2DConditionModel
import diffusers.schedulers.scheduling_euler_ancestral_discrete as ancestral, diffusers.schedulers.scheduling_lcm as lcm

HERE = os.path.dirname(os.path.abspath(__file__))
SD = os.path.join(HERE, "sd")
CLASS = {"pndm": PNDMScheduler, "ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "euler-a": EulerAncestralDiscreteScheduler,
         "dpmpp2m": DPMSolverMultistepScheduler, "dpmpp2m-karras": DPMSolverMultistepScheduler, "lcm": LCMScheduler}

# Noise is drawn in float32, whatever the net computes in.
ancestral.randn_tensor = lcm.randn_tensor = lambda shape, generator=None, dtype=None, **_: torch.randn(shape, generator=generator).to(dtype)

torch.manual_seed(0)
text = CLIPTextModel(CLIPTextConfig(vocab_size=60, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=12, hidden_act="quick_gelu", bos_token_id=58, eos_token_id=59))
unet = UNet2DConditionModel(sample_size=8, block_out_channels=(16, 24), layers_per_block=1, norm_num_groups=8, cross_attention_dim=24, attention_head_dim=2,
                            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
vae = AutoencoderKL(latent_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.7)
scheduler = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, skip_prk_steps=True)
shutil.rmtree(SD, ignore_errors=True)
for name, m in (("text_encoder", text), ("unet", unet), ("vae", vae)):
    for p in m.parameters():
        p.data = (p.data * (1.6 if p.dim() > 1 else 1)).half().float()
    m.half().save_pretrained(os.path.join(SD, name))
    m.double().eval()
scheduler.save_pretrained(os.path.join(SD, "scheduler"))
scheduler = PNDMScheduler.from_pretrained(os.path.join(SD, "scheduler"))  # with every default as if it were chosen, as checkpoints have it


@torch.no_grad()
def draw(kind, n, steps, guidance, h, w, seed, ids, negative):
    # A net of random weights leaves the range that clip_sample cuts to, where a rounding grows at every step.
    s = CLASS[kind].from_config(scheduler.config, **({"use_karras_sigmas": kind.endswith("karras")} if kind.startswith("dpm") else {"clip_sample": False} if kind == "ddim" else {}))
    s.set_timesteps(steps)
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 4, h, w, generator=g).double() * s.init_noise_sigma
    hidden = text(torch.cat([negative, ids]) if guidance > 1 else ids).last_hidden_state
    for t in s.timesteps:
        x = torch.cat([z, z]) if guidance > 1 else z
        e = unet(s.scale_model_input(x, t).double(), t, hidden).sample
        if guidance > 1:
            u, c = e.chunk(2)
            e = u + guidance * (c - u)
        z = s.step(e, t, z, **({"generator": g} if kind in ("euler-a", "lcm") else {})).prev_sample.double()
    return z, (vae.decode(z / vae.config.scaling_factor).sample / 2 + .5).clamp(0, 1)


out, seed = {}, 0
for kind in CLASS:
    for n, steps, guidance, h, w in ((1, 50, 7.5, 6, 10), (3, 5, 1.0, 8, 4)):
        seed += 1
        ids, negative = torch.randint(0, 58, (n, 12)), torch.randint(0, 58, (n, 12))
        ids[:, 9] = negative[:, 4] = 59
        z, x = draw(kind, n, steps, guidance, h, w, seed, ids, negative)
        key = f"{kind}/{n}/{steps}/{guidance}/{2 * h}/{2 * w}/{seed}/"
        out |= {key + "input_ids": ids.int(), key + "negative_ids": negative.int(), key + "latents": z.float(), key + "image": x.float()}
save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, "goldens.safetensors"))

# Tiles, on latents that take two and three of them.
z = torch.randn(2, 4, 21, 13, generator=torch.Generator().manual_seed(5)).double()
vae.tile_latent_min_size, vae.tile_sample_min_size = 8, 16
with torch.no_grad():
    vae.enable_tiling()
    x = vae.decode(z).sample
save_file({"latents": z.float().contiguous(), "sample": x.float().contiguous()}, os.path.join(HERE, "tiled.safetensors"))

# Drawings that start from a picture, by the pipeline itself.
from diffusers import StableDiffusionImg2ImgPipeline
picture = torch.randint(0, 256, (1, 3, 16, 24), generator=torch.Generator().manual_seed(6))
ids, negative = torch.randint(0, 58, (1, 12)), torch.randint(0, 58, (1, 12))
ids[:, 9] = negative[:, 4] = 59
out = {"picture": picture.int(), "input_ids": ids.int(), "negative_ids": negative.int()}
for m in (text, unet, vae):
    m.float()
vae.disable_tiling()
for kind in ("ddim", "euler", "dpmpp2m"):
    pipe = StableDiffusionImg2ImgPipeline(vae=vae, text_encoder=text, tokenizer=None, unet=unet, scheduler=CLASS[kind].from_config(scheduler.config), safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        out[kind] = pipe(prompt_embeds=text(ids).last_hidden_state, negative_prompt_embeds=text(negative).last_hidden_state, image=picture.float() / 255, strength=0.7, num_inference_steps=9,
                         guidance_scale=4.0, generator=torch.Generator().manual_seed(9), output_type="latent").images
save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, "img2img.safetensors"))
