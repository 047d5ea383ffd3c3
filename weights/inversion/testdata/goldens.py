"""Writes the files of textual inversion that the tests read, as training scripts save them, and want.json with what is in them.

torch==2.9.0 safetensors==0.8.0 numpy==2.4.6: python goldens.py
"""
import json, os
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(0)
want = {}


def put(file, value, names, vectors, save=torch.save):
    save(value, os.path.join(HERE, file))
    v = vectors.detach().float()
    want[file] = {"names": names, "vectors": (v if v.dim() == 2 else v[None]).tolist()}


# stable-diffusion-webui: Embedding.save, and the safetensors files that others make of it.
a = torch.randn(3, 8)
webui = lambda v, name: {"string_to_token": {"*": 265}, "string_to_param": {"*": v}, "name": name, "step": 1500, "sd_checkpoint": "abcd", "sd_checkpoint_name": "v1-5"}
put("webui.pt", webui(a, "inner name"), ["inner name", "webui"], a)
put("webui_half.pt", webui(a.half(), None), ["webui_half"], a.half())
put("webui.legacy.pt", webui(a, "webui.legacy"), ["webui.legacy"], a, lambda v, f: torch.save(v, f, _use_new_zipfile_serialization=False))
put("webui_params.safetensors", {"emb_params": a}, ["webui_params"], a, save_file)
# textual_inversion of the paper's authors: the vectors are a ParameterDict.
p = torch.nn.ParameterDict({"*": torch.nn.Parameter(a[:2].clone())})
put("paper.pt", {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": p}, ["paper"], a[:2])
# diffusers: examples/textual_inversion, of one vector and of several.
b = torch.randn(8)
put("learned_embeds.bin", {"<cat-toy>": b}, ["<cat-toy>"], b)
put("learned_embeds.safetensors", {"<cat-toy>": a}, ["<cat-toy>"], a, save_file)
put("parameter.bin", {"<toy>": torch.nn.Parameter(a[:1].clone())}, ["<toy>"], a[:1])
put("bare.pt", a, ["bare"], a)
put("bf16.safetensors", {"<b>": a.bfloat16()}, ["<b>"], a.bfloat16(), save_file)

# What is none.
save_file({"clip_l": a, "clip_g": torch.randn(3, 12)}, os.path.join(HERE, "xl.safetensors"))
save_file({"lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight": a, "x.alpha": b}, os.path.join(HERE, "lora.safetensors"))
save_file({"<a>": torch.full((2, 8), float("nan"))}, os.path.join(HERE, "nan.safetensors"))
save_file({"<a>": torch.zeros(2, 2, 2)}, os.path.join(HERE, "cube.safetensors"))
save_file({"<a>": torch.zeros(2, 8, dtype=torch.int32)}, os.path.join(HERE, "int.safetensors"))
torch.save({"string_to_param": {"*": a, "+": a}}, os.path.join(HERE, "two.pt"))
json.dump(want, open(os.path.join(HERE, "want.json"), "w"), indent=1)
