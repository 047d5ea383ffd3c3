# Makes the checkpoints that the tests of weights/pickle and weights/convert
# read. Run in this folder:  python goldens.py
#
# torch==2.9.0 transformers==5.23.0 diffusers==0.42.1 safetensors==0.8.0
import collections, json, os
import torch
from safetensors.torch import save_file
from transformers import (BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel,
                          CLIPTextConfig, CLIPTextModel)
from diffusers import AutoencoderKL, UNet2DConditionModel

HERE = os.path.dirname(os.path.abspath(__file__))
PICKLE = os.path.join(HERE, "..", "..", "pickle", "testdata")
os.makedirs(PICKLE, exist_ok=True)


def pickles():
    base = torch.arange(24, dtype=torch.float32)
    state = collections.OrderedDict()
    state["plain"] = base.reshape(2, 3, 4)
    state["transposed"] = base.reshape(4, 6).t()
    state["row"] = base.reshape(4, 6)[2]
    state["parameter"] = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    state["half"] = torch.tensor([1.5, -0.25], dtype=torch.float16)
    state["bfloat"] = torch.tensor([3.0, 0.5], dtype=torch.bfloat16)
    state["double"] = torch.tensor([0.1], dtype=torch.float64)
    state["ids"] = torch.tensor([[0, 1, 2]])
    state["flag"] = torch.tensor([True, False])
    state["scalar"] = torch.tensor(7.0)
    state["empty"] = torch.zeros(0, 3)
    out = lambda n: os.path.join(PICKLE, n)
    torch.save(state, out("zip.pt"))
    torch.save(state, out("legacy.pt"), _use_new_zipfile_serialization=False)
    import numpy
    lightning = {
        "epoch": 3, "global_step": 2**70, "best": numpy.float64(0.5), "seed": numpy.arange(3),
        "hyper_parameters": {"lr": 1e-4, "dtype": torch.float16, "shape": torch.Size([1, 2])},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        "state_dict": {"model.w": torch.ones(2, 2)},
    }
    torch.save(lightning, out("lightning.ckpt"))
    torch.save({"model": {"w": torch.ones(3)}}, out("model.pth"), _use_new_zipfile_serialization=False)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = torch.nn.Linear(2, 3)
            self.blocks = torch.nn.Sequential(torch.nn.Linear(3, 2))
            self.register_buffer("scale", torch.tensor([4.0]))

        def forward(self, x):
            return self.blocks(self.proj(x)) * self.scale

    torch.manual_seed(1)
    torch.jit.script(Net()).save(out("script.pt"))

    class Evil:
        def __reduce__(self):
            return (os.system, ("true",))

    torch.save({"w": torch.ones(1), "evil": Evil()}, out("evil.pt"))


def digest(state):
    """What a canonical state dict has to be: name -> [dtype, shape, sha256]."""
    import hashlib
    kinds = {torch.float32: "F32", torch.float16: "F16"}
    return {k: [kinds[v.dtype], list(v.shape), hashlib.sha256(v.contiguous().numpy().tobytes()).hexdigest()]
            for k, v in sorted(state.items())}


def saved(model, folder):
    """The state dict as the library saves it."""
    import glob, tempfile
    from safetensors.torch import load_file
    with tempfile.TemporaryDirectory() as d:
        model.half().save_pretrained(d)
        return load_file(glob.glob(d + "/*.safetensors")[0])


def ldm_unet(state, layers, levels):
    """diffusers -> ldm, by diffusers' own rules read backwards (the inverse is asserted below)."""
    out = {}
    res = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
           "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    top = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
           "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2"}
    has = lambda p: any(k.startswith(p) for k in state)
    for k, v in state.items():
        part, leaf = k.rsplit(".", 1)
        if part in top:
            out[f"{top[part]}.{leaf}"] = v
            continue
        p = k.split(".")
        if p[0] == "mid_block":
            i = {"resnets": 2 * int(p[2]), "attentions": 1}[p[1]]
            rest = p[3:]
            new = f"middle_block.{i}"
            kind = p[1]
        else:
            b, kind, j, rest = int(p[1]), p[2], int(p[3]), p[4:]
            if p[0] == "down_blocks":
                n = 1 + b * (layers + 1) + (layers if kind == "downsamplers" else j)
                new = f"input_blocks.{n}." + {"resnets": "0", "attentions": "1", "downsamplers": "0.op"}[kind]
            else:
                n = b * (layers + 1) + (layers if kind == "upsamplers" else j)
                up = "2.conv" if has(f"up_blocks.{b}.attentions") else "1.conv"
                new = f"output_blocks.{n}." + {"resnets": "0", "attentions": "1", "upsamplers": up}[kind]
        if kind == "resnets":
            rest = [res[rest[0]]] + rest[1:]
        elif kind in ("downsamplers", "upsamplers"):
            rest = rest[1:]
        out[".".join([new] + rest)] = v
    return out


def ldm_vae(state, levels):
    out = {}
    for k, v in state.items():
        side, _, rest = k.partition(".")
        p = rest.split(".")
        if p[0] in ("down_blocks", "up_blocks"):
            i = int(p[1]) if p[0] == "down_blocks" else levels - 1 - int(p[1])
            d = p[0].split("_")[0]
            if p[2] == "resnets":
                rest = f"{d}.{i}.block.{p[3]}." + ".".join(p[4:]).replace("conv_shortcut", "nin_shortcut")
            else:
                rest = f"{d}.{i}.{d}sample." + ".".join(p[4:])
        elif p[0] == "mid_block" and p[1] == "resnets":
            rest = f"mid.block_{int(p[2]) + 1}." + ".".join(p[3:])
        elif p[0] == "mid_block":
            rest = "mid.attn_1." + ".".join(p[3:])
            for a, b in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
                rest = rest.replace(a + ".", b + ".")
            if v.dim() == 2:
                v = v[:, :, None, None]
        elif side in ("encoder", "decoder"):
            rest = rest.replace("conv_norm_out", "norm_out")
        out[f"{side}.{rest}"] = v
    return out


def open_blocks(state, src, dst):
    """A transformer's blocks under OpenAI's names, with one matrix for q, k and v."""
    out = {}
    n = 1 + max(int(k[len(src):].split(".")[0]) for k in state if k.startswith(src))
    names = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
             "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for i in range(n):
        for leaf in ("weight", "bias"):
            out[f"{dst}{i}.attn.in_proj_{leaf}"] = torch.cat(
                [state[f"{src}{i}.self_attn.{x}_proj.{leaf}"] for x in "qkv"])
            for a, b in names.items():
                out[f"{dst}{i}.{b}.{leaf}"] = state[f"{src}{i}.{a}.{leaf}"]
    return out


def openai(state):
    out = {"visual." + k: v for k, v in open_blocks(state, "vision_model.encoder.layers.", "transformer.resblocks.").items()}
    out.update(open_blocks(state, "text_model.encoder.layers.", "transformer.resblocks."))
    for leaf in ("weight", "bias"):
        out["visual.ln_pre." + leaf] = state["vision_model.pre_layrnorm." + leaf]
        out["visual.ln_post." + leaf] = state["vision_model.post_layernorm." + leaf]
        out["ln_final." + leaf] = state["text_model.final_layer_norm." + leaf]
    v, t = "vision_model.embeddings.", "text_model.embeddings."
    out["visual.class_embedding"] = state[v + "class_embedding"]
    out["visual.positional_embedding"] = state[v + "position_embedding.weight"]
    out["visual.conv1.weight"] = state[v + "patch_embedding.weight"]
    out["visual.proj"] = state["visual_projection.weight"].t()
    out["text_projection"] = state["text_projection.weight"].t()
    out["token_embedding.weight"] = state[t + "token_embedding.weight"]
    out["positional_embedding"] = state[t + "position_embedding.weight"]
    out["logit_scale"] = state["logit_scale"]
    return out


def salesforce(state):
    out = {}
    for k, v in state.items():
        if k.startswith("vision_model."):
            for a, b in (("vision_model.encoder.layers", "visual_encoder.blocks"), ("self_attn.projection", "attn.proj"),
                         ("self_attn", "attn"), ("layer_norm", "norm"), ("vision_model.post_layernorm", "visual_encoder.norm"),
                         ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
                         ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
                         ("vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj")):
                k = k.replace(a, b)
        out[k] = v
    d = "text_decoder."
    out[d + "cls.predictions.decoder.weight"] = out[d + "bert.embeddings.word_embeddings.weight"]
    out[d + "cls.predictions.decoder.bias"] = out[d + "cls.predictions.bias"]
    out[d + "bert.embeddings.position_ids"] = torch.arange(7)[None]
    return out


def checkpoints():
    torch.manual_seed(0)
    want = {}
    put = lambda n: os.path.join(HERE, n)
    tower = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=1, projection_dim=6)
    text = dict(tower, vocab_size=20, max_position_embeddings=7)
    vision = dict(tower, image_size=8, patch_size=4)

    clip = saved(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6)), "clip")
    want["clip"] = digest(clip)
    torch.save(openai(clip), put("openai_clip.pt"))

    blip = saved(BlipForConditionalGeneration(BlipConfig(
        text_config=dict(text, encoder_hidden_size=8), vision_config=vision)), "blip")
    want["blip"] = digest(blip)
    torch.save({"model": salesforce(blip), "epoch": 1}, put("salesforce_blip.pth"))

    u = UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=4, cross_attention_dim=8,
        attention_head_dim=1, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    unet = saved(u, "unet")
    v = AutoencoderKL(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=4,
                      down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    vae = saved(v, "vae")
    enc = saved(CLIPTextModel(CLIPTextConfig(**text)), "text_encoder")
    want["unet"], want["vae"], want["text_encoder"] = digest(unet), digest(vae), digest(enc)

    lu, lv = ldm_unet(unet, 1, 2), ldm_vae(vae, 2)
    # diffusers' own conversion has to bring our old names back.
    from diffusers.loaders import single_file_utils as sf
    single = {"model.diffusion_model." + k: t for k, t in lu.items()}
    single.update({"first_stage_model." + k: t for k, t in lv.items()})
    assert digest(sf.convert_ldm_unet_checkpoint(dict(single), dict(u.config))) == want["unet"]
    assert digest(sf.convert_ldm_vae_checkpoint(dict(single), dict(v.config))) == want["vae"]
    sd1 = dict(single)
    sd1.update({"cond_stage_model.transformer.text_model." + k: t for k, t in enc.items()})
    sd1["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(7)[None]
    sd1["betas"] = torch.zeros(4)
    save_file({k: t.contiguous() for k, t in sd1.items()}, put("ldm_sd1.safetensors"))

    # Stable Diffusion 2 keeps one block more than it uses.
    c = "cond_stage_model.model."
    sd2 = open_blocks({"x." + k: t for k, t in enc.items()}, "x.encoder.layers.", c + "transformer.resblocks.")
    extra = {k.replace("resblocks.1.", "resblocks.2."): t.clone() for k, t in sd2.items() if "resblocks.1." in k}
    sd2.update(extra)
    sd2[c + "token_embedding.weight"] = enc["embeddings.token_embedding.weight"]
    sd2[c + "positional_embedding"] = enc["embeddings.position_embedding.weight"]
    sd2[c + "ln_final.weight"], sd2[c + "ln_final.bias"] = enc["final_layer_norm.weight"], enc["final_layer_norm.bias"]
    sd2.update(single)
    torch.save({"state_dict": sd2, "global_step": 1}, put("ldm_sd2.ckpt"))

    old = {}
    for k, t in vae.items():
        if ".attentions." in k:
            for a, b in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
                if a in k and t.dim() == 2:
                    t = t[:, :, None] if a == "to_q" else t  # both old shapes
                k = k.replace(a, b)
        old[k] = t.contiguous()
    save_file(old, put("old_vae.safetensors"))
    with open(put("want.json"), "w") as f:
        json.dump(want, f, indent=0, sort_keys=True)


if __name__ == "__main__":
    pickles()
    checkpoints()
