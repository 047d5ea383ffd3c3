"""Counts FLOPs and bytes of Stable Diffusion 1.5's UNet at 512 x 512 over the modules
of diffusers' model, which it runs on torch's meta device: count.json.

    pip install torch==2.9.0 diffusers==0.42.1 transformers==5.23.0
    python count.py > count.json

A multiply-add is two FLOPs; products alone are counted. Bytes are float32, read and
written at least: an operation's inputs, weights and result, each once. What a net
joins to an operation costs no pass of its own: an activation, GEGLU's product (half
of its columns are written), the sum with a skip connection (one more read), doubling
before a convolution (the small map is read), joining two maps by channels. Products
of one input are one product: queries, keys and values of a self-attention, keys and
values of the text, what all residual blocks make of the timestep.
"""

import json
import sys

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import nn

SD15 = dict(
    sample_size=64, in_channels=4, out_channels=4, center_input_sample=False, flip_sin_to_cos=True, freq_shift=0,
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, downsample_padding=1, mid_block_scale_factor=1,
    act_fn="silu", norm_num_groups=32, norm_eps=1e-5, cross_attention_dim=768, attention_head_dim=8)


def main():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
    kinds = {}
    first = next(name for name, _ in unet.named_modules() if name.endswith(".time_emb_proj"))

    def add(kind, flops, elements):
        n = kinds.setdefault(kind, {"flops": 0, "bytes": 0, "calls": 0})
        n["flops"] += flops
        n["bytes"] += 4 * elements
        n["calls"] += 1

    def hook(name, m):
        params = sum(p.numel() for p in m.parameters(recurse=False))

        def conv(m, args, out):
            x = args[0]
            read = x.numel()
            if ".upsamplers." in name:
                read //= 4
            if name.endswith(".conv2") or name.endswith(".proj_out"):
                read += out.numel()  # the skip connection
            if name.endswith(".conv1"):
                read += out.shape[0] * out.shape[1]  # the timestep's
            per = m.in_channels * m.kernel_size[0] * m.kernel_size[1]
            kind = "linear" if name.endswith((".proj_in", ".proj_out")) else "conv"  # of one map and 1 x 1
            add(kind, 2 * out.numel() * per, read + params + out.numel())

        def linear(m, args, out):
            x = args[0]
            written, read = out.numel(), x.numel()
            if name.endswith(".ff.net.0.proj"):
                written //= 2
            if name.endswith(".to_out.0") or name.endswith(".ff.net.2"):
                read += out.numel()
            if name.endswith((".attn1.to_k", ".attn1.to_v", ".attn2.to_v")) or name.endswith(".time_emb_proj") and name != first:
                read = 0  # with another product
            add("linear", 2 * x.numel() * m.out_features, read + params + written)

        def norm(m, args, out):
            add("norm", 0, 2 * out.numel() + params)

        def attention(m, args, kwargs, out):
            x = args[0] if args else kwargs["hidden_states"]
            context = kwargs.get("encoder_hidden_states")
            context = x if context is None else context
            n, queries, width = x.shape
            keys = context.shape[1]
            add("attention", 4 * n * queries * keys * width, 2 * n * queries * width + 2 * n * keys * width)

        if isinstance(m, nn.Conv2d):
            m.register_forward_hook(conv)
        elif isinstance(m, nn.Linear):
            m.register_forward_hook(linear)
        elif isinstance(m, (nn.GroupNorm, nn.LayerNorm)):
            m.register_forward_hook(norm)
        elif isinstance(m, Attention):
            m.register_forward_hook(attention, with_kwargs=True)

    for name, m in unet.named_modules():
        hook(name, m)
    with torch.no_grad():
        unet(torch.zeros(1, 4, 64, 64, device="meta"), torch.zeros(1, device="meta"), torch.zeros(1, 77, 768, device="meta"))
    import diffusers
    json.dump({"torch": torch.__version__.split("+")[0], "diffusers": diffusers.__version__,
               "parameters": sum(p.numel() for p in unet.parameters()), "kinds": kinds}, sys.stdout, indent=1)
    print()


main()
