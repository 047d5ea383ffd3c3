# Makes what seams.safetensors has: what diffusers and transformers compute in
# float64 from models of this folder where something is added to them or taken
# from within: a ControlNet's residuals, an embedding beside the timestep's,
# CLIP's earlier hidden states. Run in this folder, on unpacked
# models (weights/packed/pack):  python seams.py && go run ../../weights/packed/pack seams.safetensors
#
# torch==2.15.0 transformers==5.23.0 diffusers==0.42.1 safetensors==0.8.0
import os
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel
from diffusers import UNet2DConditionModel

HERE = os.path.dirname(os.path.abspath(__file__))
last = lambda x: x.permute(0, 2, 3, 1) if x.dim() == 4 else x
out = {}


def unet(name, seed):
    model = UNet2DConditionModel.from_pretrained(os.path.join(HERE, name), torch_dtype=torch.float64).eval()
    golden = load_file(os.path.join(HERE, name, "golden.safetensors"))
    x, t, context = (golden["in." + k].double() for k in ("sample", "timesteps", "context"))
    x = x.permute(0, 3, 1, 2)
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=g).half().double()
    seen = []
    hooks = [b.register_forward_hook(lambda m, i, y: seen.extend(y[1])) for b in model.down_blocks]
    hooks.append(model.conv_in.register_forward_hook(lambda m, i, y: seen.insert(0, y)))
    hooks.append(model.mid_block.register_forward_hook(lambda m, i, y: seen.append(y)))
    model(x, t, encoder_hidden_states=context)
    for h in hooks:
        h.remove()
    skips, mid = [normal(*s.shape) for s in seen[:-1]], normal(*seen[-1].shape)
    run = lambda **more: last(model(x, t, encoder_hidden_states=context, **more).sample)
    for i, s in enumerate(skips):
        out[f"{name}.in.skip.{i}"] = last(s)
    out[f"{name}.in.mid"] = last(mid)
    zero = [torch.zeros_like(s) for s in skips]
    out[f"{name}.out.skips"] = run(down_block_additional_residuals=skips, mid_block_additional_residual=torch.zeros_like(mid))
    out[f"{name}.out.mid"] = run(down_block_additional_residuals=zero, mid_block_additional_residual=mid)
    out[f"{name}.out.all"] = run(down_block_additional_residuals=skips, mid_block_additional_residual=mid)
    # As UNet2DConditionModel adds aug_emb to what time_embedding gives.
    added = normal(len(t), model.time_embedding.linear_2.out_features)
    out[f"{name}.in.added"] = added
    h = model.time_embedding.register_forward_hook(lambda m, i, y: y + added)
    out[f"{name}.out.added"] = run()
    h.remove()


def clip(name):
    model = CLIPModel.from_pretrained(os.path.join(HERE, name), torch_dtype=torch.float64).eval()
    ids = load_file(os.path.join(HERE, name, "golden.safetensors"))["in.ids"].long()
    text = model.text_model
    hidden = text(input_ids=ids, output_hidden_states=True).hidden_states
    for skip in range(1, len(hidden) - 1):
        out[f"{name}.out.skip.{skip}"] = hidden[-1 - skip]
        out[f"{name}.out.skip.{skip}.norm"] = text.final_layer_norm(hidden[-1 - skip])


with torch.no_grad():
    unet("unet_sd1", 1)
    unet("unet_odd", 2)
    clip("clip_quick")
    clip("clip_mixed")
save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(HERE, "seams.safetensors"))
