# Makes the checkpoints that the tests of weights/pickle and weights/convert
# read. Run in this folder:  python goldens.py
#
# torch==2.9.0 transformers==5.23.0 diffusers==0.42.1 safetensors==0.8.0
import collections, json, os, pickle, shutil
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


if __name__ == "__main__":
    pickles()
