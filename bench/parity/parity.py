"""Holds full-size nets with random weights against transformers and diffusers, through `parley forward`.

    python parity.py PARLEY [clip-b32 clip-l14 blip-base blip-large unet vae …]

Prints a relative error for each output, and the seconds that torch and parley took (parley's with loading).
Python 3.11 and requirements.txt; 16 GB of memory, 8 GB of disk for a net at a time.
"""
import os, shutil, subprocess, sys, tempfile, time
import torch
from safetensors.torch import load_file, save_file
from transformers import BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel
from diffusers import AutoencoderKL, UNet2DConditionModel

PARLEY = os.path.abspath(sys.argv[1])
worst = 0.0


def hold(net, model, inputs, reference):
    """Saves the model, runs it on both sides."""
    global worst
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as d:
        model.save_pretrained(d)
        save_file({k: v.contiguous() for k, v in inputs.items()}, f"{d}/in.st.safetensors.in")
        start = time.time()
        with torch.no_grad():
            want = reference()
        torch_s = time.time() - start
        os.makedirs(f"{d}/io"); shutil.move(f"{d}/in.st.safetensors.in", f"{d}/io/in.safetensors")
        start = time.time()
        subprocess.run([PARLEY, "forward", net, "--model", d, "--in", f"{d}/io/in.safetensors", "--out", f"{d}/io/out.safetensors"], check=True, stdout=subprocess.DEVNULL)
        parley_s = time.time() - start
        have = load_file(f"{d}/io/out.safetensors")
    for k, w in want.items():
        e = ((have[k].double() - w.double()).norm() / w.double().norm()).item()
        worst = max(worst, e)
        print(f"{net} {k} {list(w.shape)}: relative error {e:.2g}; torch {torch_s:.2f} s, parley with loading {parley_s:.2f} s", flush=True)


def clip(text, vision, projection):
    m = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)).eval()
    x, ids = torch.randn(2, 3, 224, 224), torch.randint(0, 49000, (2, 77)); ids[:, 20] = 49407
    def images():
        o = m.vision_model(x); e = m.visual_projection(o.pooler_output)
        return {"last_hidden_state": o.last_hidden_state, "pooler_output": o.pooler_output, "image_embeds": e / e.norm(dim=-1, keepdim=True)}
    def texts():
        o = m.text_model(ids); e = m.text_projection(o.pooler_output)
        return {"last_hidden_state": o.last_hidden_state, "pooler_output": o.pooler_output, "text_embeds": e / e.norm(dim=-1, keepdim=True)}
    hold("clip-image", m, {"pixel_values": x}, images); hold("clip-text", m, {"input_ids": ids}, texts)


def blip(vision):
    m = BlipForConditionalGeneration(BlipConfig(text_config=dict(vocab_size=30524, num_attention_heads=12, encoder_hidden_size=vision["hidden_size"]), vision_config=dict(vision, image_size=384))).eval()
    for p in m.vision_model.parameters():
        if p.dim() > 1 and p.std() < 1e-6: torch.nn.init.normal_(p, 0, 0.02)  # transformers' default is 1e-10
    x, ids = torch.randn(1, 3, 384, 384), torch.randint(5, 30000, (1, 12))
    hold("blip-vision", m, {"pixel_values": x}, lambda: {"last_hidden_state": m.vision_model(x).last_hidden_state})
    e = torch.randn(1, 577, vision["hidden_size"])
    hold("blip-text", m, {"input_ids": ids, "encoder_hidden_states": e}, lambda: {"logits": m.text_decoder(input_ids=ids, encoder_hidden_states=e).logits})


def unet():
    m = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval()
    z, e = torch.randn(2, 4, 64, 64), torch.randn(2, 77, 768)
    hold("unet", m, {"sample": z, "timestep": torch.tensor([501]), "encoder_hidden_states": e}, lambda: {"sample": m(z, 501, e).sample})


def vae():
    m = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4).eval()
    z, x = torch.randn(1, 4, 64, 64), torch.randn(1, 3, 512, 512).clamp(-1, 1)
    hold("vae-decode", m, {"latents": z}, lambda: {"sample": m.decode(z).sample})
    hold("vae-encode", m, {"sample": x}, lambda: {"latent_mean": m.encode(x).latent_dist.mean})


ALL = {
    "clip-b32": lambda: clip(dict(hidden_size=512, num_hidden_layers=12, num_attention_heads=8, intermediate_size=2048), dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, patch_size=32), 512),
    "clip-l14": lambda: clip(dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072), dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, patch_size=14), 768),
    "blip-base": lambda: blip(dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072)),
    "blip-large": lambda: blip(dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)),
    "unet": unet, "vae": vae,
}
torch.manual_seed(0)
for name in sys.argv[2:] or ALL:
    print(f"-- {name}", flush=True)
    ALL[name]()
print(f"worst relative error {worst:.2g}")
sys.exit(worst > 1e-5)
