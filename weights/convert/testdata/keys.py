"""Writes keys.json: every key that open_clip's configuration of a model knows, with its default.

Python 3.11, open_clip_torch 3.3.0: python keys.py
"""
import dataclasses, glob, inspect, json, os
import open_clip
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from open_clip.transform import PreprocessCfg

HERE = os.path.dirname(os.path.abspath(__file__))
fields = lambda cls: {f.name: f.default for f in dataclasses.fields(cls)}
model = {}
for cls in (CLIP, CustomTextCLIP):
    model |= {k: (p.default if p.default is not inspect.Parameter.empty else None) for k, p in inspect.signature(cls.__init__).parameters.items() if k != "self"}
for path in glob.glob(os.path.join(os.path.dirname(open_clip.__file__), "model_configs", "*.json")):
    for k in json.load(open(path)): model.setdefault(k, None)
out = {"model_cfg": model, "vision_cfg": fields(CLIPVisionCfg), "text_cfg": fields(CLIPTextCfg), "preprocess_cfg": fields(PreprocessCfg)}
with open(os.path.join(HERE, "keys.json"), "w") as f:
    json.dump(out, f, indent=1, sort_keys=True, default=str)
    f.write("\n")
