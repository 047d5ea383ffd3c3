"""Writes keys.json: every key that transformers' and diffusers' classes of Parley's nets know, with its default.

Python 3.11, transformers 5.23.0, diffusers 0.42.1, torch: python keys.py
"""
import dataclasses, inspect, json, os
import diffusers, transformers
from transformers.processing_utils import ImagesKwargs

HERE = os.path.dirname(os.path.abspath(__file__))


def plain(v):
    if isinstance(v, dict): return {str(k): plain(x) for k, x in v.items()}
    if isinstance(v, (list, tuple)): return [plain(x) for x in v]
    return v if isinstance(v, (str, int, float, bool, type(None))) else None


def transformer(cls):
    keys = {f.name: None for f in dataclasses.fields(transformers.PreTrainedConfig)}
    keys.update(cls().to_dict())
    for k in ("text_config", "vision_config"):
        if k in keys: keys[k] = None
    # What older versions saved, and what quantised checkpoints say.
    keys.update(torch_dtype=None, quantization_config=None, use_bfloat16=False, torchscript=False, pruned_heads=None, tie_encoder_decoder=False, add_cross_attention=False)
    if cls is transformers.BertConfig: keys.update(position_embedding_type="absolute")
    if cls is transformers.CLIPConfig: keys.update(text_config_dict=None, vision_config_dict=None)
    return keys


def diffuser(cls):
    keys = {k: p.default for k, p in inspect.signature(cls.__init__).parameters.items() if k not in ("self", "args", "kwargs")}
    keys.update(_class_name=cls.__name__, _diffusers_version="", _name_or_path="")
    return keys


def processor(cls):
    keys = {k: None for k in ImagesKwargs.__annotations__}
    keys.update(cls().to_dict())
    keys.update(image_processor_type=cls.__name__, feature_extractor_type=None, processor_class=None, use_square_size=False)
    return keys


out = {c.__name__: transformer(c) for c in (transformers.CLIPConfig, transformers.CLIPTextConfig, transformers.CLIPVisionConfig,
                                            transformers.BlipConfig, transformers.BlipTextConfig, transformers.BlipVisionConfig,
                                            transformers.BertConfig, transformers.ViTConfig)}
out |= {c.__name__: diffuser(c) for c in (diffusers.UNet2DConditionModel, diffusers.AutoencoderKL, diffusers.PNDMScheduler, diffusers.DDIMScheduler,
                                          diffusers.EulerDiscreteScheduler, diffusers.EulerAncestralDiscreteScheduler,
                                          diffusers.DPMSolverMultistepScheduler, diffusers.LCMScheduler, diffusers.UniPCMultistepScheduler)}
out |= {c.__name__: processor(c) for c in (transformers.CLIPImageProcessor, transformers.BlipImageProcessor, transformers.ViTImageProcessor)}
with open(os.path.join(HERE, "keys.json"), "w") as f:
    json.dump(plain(out), f, indent=1, sort_keys=True)
    f.write("\n")
