"""Writes traces of other programs, for the tests and as an example of how they are
made: torch.json.gz (PyTorch's profiler) and onnx.json.gz (ONNX Runtime's profile) of
a small UNet, that of bench/random's SmallSD; vllm.json.gz (vLLM's layerwise profile) of a
CLIP's text tower, that of SmallCLIP.

    pip install torch==2.9.0 diffusers==0.42.1 transformers==5.23.0 onnx==1.18.0 onnxruntime==1.22.1
    python traces.py
    pip download --no-deps vllm==0.33.0      # with torch==2.15.0
    python traces.py vllm-*.whl
"""

import gzip
import json
import os
import sys
import types

import torch
from diffusers import UNet2DConditionModel
from torch.profiler import ProfilerActivity, profile, record_function

SMALL = dict(sample_size=8, cross_attention_dim=32, norm_num_groups=8, block_out_channels=(32, 64), layers_per_block=1,
             attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
             up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))


def annotate(model):
    """Opens an annotation with its name around each module."""
    for name, m in model.named_modules():
        if not name:
            continue

        def before(m, args, name=name):
            m.annotation = record_function(name)
            m.annotation.__enter__()

        def after(m, args, out):
            m.annotation.__exit__(None, None, None)

        m.register_forward_pre_hook(before)
        m.register_forward_hook(after)


def write(name, value):
    with gzip.GzipFile(name, "wb", mtime=0) as f:
        f.write(json.dumps(value, separators=(",", ":")).encode())


@torch.no_grad()
def vllm(wheel):
    """Runs vLLM's profiler, which is Python alone, from its wheel without vLLM beside it."""
    import zipimport
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection
    stub = {n: types.ModuleType(n) for n in ("_typeshed", "vllm", "vllm.utils", "vllm.utils.import_utils", "vllm.profiler")}
    stub["_typeshed"].DataclassInstance = object
    stub["vllm.utils.import_utils"].PlaceholderModule = lambda name: None
    sys.modules.update(stub)
    for n in ("utils", "layerwise_profile"):
        code = zipimport.zipimporter(f"{wheel}/vllm/profiler").get_code(n)
        m = sys.modules[f"vllm.profiler.{n}"] = types.ModuleType(f"vllm.profiler.{n}")
        exec(code, m.__dict__)
    results = m.LayerwiseProfileResults
    total = results._total_cuda_time
    results._total_cuda_time = lambda self: total(self) or 1.0  # without a GPU its shares divide by 0
    net = CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, projection_dim=24)).eval()
    ids = torch.arange(77)[None]
    net(input_ids=ids)
    with m.layerwise_profile(1) as p:
        net(input_ids=ids)
    write("vllm.json.gz", {"context": {}, "prefill": p.results.convert_stats_to_dict()})


class Plain(torch.nn.Module):
    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, text):
        return self.unet(sample, timestep, text, return_dict=False)[0]


@torch.no_grad()
def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    unet = UNet2DConditionModel(**SMALL).eval()
    args = torch.randn(2, 4, 8, 8), torch.tensor([801.0, 801.0]), torch.randn(2, 77, 32)

    import onnxruntime
    torch.onnx.export(Plain(unet), args, "small.onnx", input_names=["sample", "timestep", "text"], dynamo=False)
    o = onnxruntime.SessionOptions()
    o.enable_profiling, o.intra_op_num_threads = True, 1
    s = onnxruntime.InferenceSession("small.onnx", o, providers=["CPUExecutionProvider"])
    for _ in range(2):
        s.run(None, {i.name: a.numpy() for i, a in zip(s.get_inputs(), args)})
    file = s.end_profiling()
    kept = [{k: e[k] for k in ("cat", "name", "ph", "ts", "dur", "pid", "tid")} for e in json.load(open(file))]
    write("onnx.json.gz", kept)
    os.remove(file)
    os.remove("small.onnx")

    annotate(unet)
    unet(*args)
    with profile(activities=[ProfilerActivity.CPU]) as p:
        for _ in range(2):
            unet(*args)
    p.export_chrome_trace("torch.json")
    trace = json.load(open("torch.json"))
    kept = [{k: e.get(k) for k in ("cat", "name", "ph", "ts", "dur", "pid", "tid")} for e in trace["traceEvents"]
            if e.get("cat") in ("user_annotation", "gpu_user_annotation")]
    write("torch.json.gz", {"traceEvents": kept})
    os.remove("torch.json")


vllm(sys.argv[1]) if len(sys.argv) > 1 else main()
