# Makes the goldens of the nets that judge, as goldens.py does: small random models
# of BERT and of ViT with what transformers computes from them in float64, and what
# pytorch-fid's Inception v3 makes of weights and pictures that a formula gives. Run
# in this folder:  python judges.py && go run ../../weights/packed/pack bert_*/*.safetensors vit_*/*.safetensors inception.safetensors
#
# torch==2.15.0 torchvision==0.29.2 pytorch-fid==0.3.0 transformers==5.23.0 diffusers==0.42.1 safetensors==0.8.0 numpy==2.4.6
import os
import zlib
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, ViTConfig, ViTModel
from goldens import HERE, Taps, last, pixels, randomise, save


def bert(name, seed, n, length, **config):
    model = BertModel(BertConfig(**config), add_pooling_layer=seed % 2 == 0)
    g = randomise(model, seed)
    ids = torch.randint(0, config["vocab_size"], (n, length), generator=g)
    model.double()
    taps = Taps(model, ["embeddings", "encoder.layer.0"])
    hidden = model(input_ids=ids).last_hidden_state
    mean = hidden.mean(1)
    save(model, name, True, {"ids": ids}, {"hidden": hidden, "embeds": mean / mean.norm(dim=1, keepdim=True)} | taps.out)


def vit(name, seed, n, h, w, **config):
    model = ViTModel(ViTConfig(**config), add_pooling_layer=seed % 2 == 0)
    g = randomise(model, seed)
    with torch.no_grad():
        for p in (model.embeddings.cls_token, model.embeddings.position_embeddings):
            p.copy_((torch.randn(p.shape, generator=g) * 0.7).half().float())
    size = config["image_size"]
    x, wide = pixels(g, n, 3, size, size), pixels(g, 1, 3, h, w)
    model.double()
    taps = Taps(model, ["embeddings"])
    y = model(pixel_values=x.double()).last_hidden_state
    out = {"hidden": y, "class": y[:, 0]} | taps.out
    z = model(pixel_values=wide.double(), interpolate_pos_encoding=True).last_hidden_state
    save(model, name, True, {"pixels": last(x), "wide": last(wide)}, out | {"wide": z})


def numbers(name, count):
    """The first numbers of a name, of -1 to 1: splitmix64 from the name's CRC-32."""
    with np.errstate(over="ignore"):
        z = np.uint64(zlib.crc32(name.encode())) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def inception():
    import pytorch_fid.inception as fid
    fid.load_state_dict_from_url = lambda *a, **k: State()
    net = fid.InceptionV3(resize_input=True, normalize_input=True).double().eval()
    # Small maps, to keep the test short; the steps before them by torch's own hands.
    out = {}
    for name, h, w in (("small", 75, 107), ("wide", 139, 75)):
        x = torch.tensor(numbers("in." + name, 3 * h * w)).reshape(1, 3, h, w)
        for b in net.blocks:
            x = b(x)
        out["out." + name] = x.flatten(1)
    for name, h, w in (("less", 61, 40), ("more", 417, 300)):
        bytes_ = torch.tensor((numbers("in." + name, h * w * 3) + 1) * 127.5).round().clamp(0, 255).reshape(1, h, w, 3)
        x = torch.nn.functional.interpolate(bytes_.permute(0, 3, 1, 2) / 255, size=(299, 299), mode="bilinear", align_corners=False)
        x = last(2 * x - 1)
        # A row, a column, and the sum of all.
        out["out.row." + name], out["out.column." + name], out["out.sum." + name] = x[0, 151], x[0, :, 298], x.sum((0, 1, 2))
    save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(HERE, "inception.safetensors"))


class State(dict):
    """A state that has whatever it is asked for: each tensor by the formula."""

    def tensor(self, name, shape):
        v = numbers(name, int(np.prod(shape)))
        if name.endswith("conv.weight"):
            v *= 2.4 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("running_var"):
            v = 1 + 0.5 * v
        elif name.endswith("bn.weight"):
            v = 1 + 0.2 * v
        else:
            v *= 0.2
        # As a file in float32 has it.
        return torch.tensor(v.astype(np.float32)).reshape(shape)


def by_formula(self, state):
    own = self.state_dict()
    for name, t in own.items():
        if t.is_floating_point() and not name.startswith("fc."):
            own[name] = state.tensor(name, tuple(t.shape))
    return torch.nn.Module.load_state_dict(self, own)


def main():
    bert("bert_small", 41, 3, 11, vocab_size=37, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80,
         max_position_embeddings=20)
    bert("bert_odd", 42, 2, 7, vocab_size=23, hidden_size=35, num_hidden_layers=1, num_attention_heads=5, intermediate_size=50,
         max_position_embeddings=7, type_vocab_size=3, hidden_act="gelu_new", layer_norm_eps=1e-2)
    vit("vit_small", 43, 2, 32, 16, hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=72, image_size=24,
        patch_size=8)
    vit("vit_odd", 44, 1, 12, 28, hidden_size=27, num_hidden_layers=1, num_attention_heads=3, intermediate_size=31, image_size=20,
        patch_size=4, hidden_act="quick_gelu", qkv_bias=False, layer_norm_eps=1e-3)
    import torchvision
    torchvision.models.inception.Inception3.load_state_dict = by_formula
    with torch.no_grad():
        inception()


main()
