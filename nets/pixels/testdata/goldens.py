"""Writes the picture files beside it and goldens.safetensors: what Pillow and transformers make of them.

Python 3.11, Pillow 12 or 13, transformers 5.23.0, torch 2.9.0, numpy, safetensors: python goldens.py && go run ../../../weights/packed/pack goldens.safetensors
"""
import os
import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from transformers import BlipImageProcessor, CLIPImageProcessor
try:
    from transformers import BlipImageProcessorPil as BlipImageProcessor, CLIPImageProcessorPil as CLIPImageProcessor
except ImportError:
    pass

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(0)


def scene(w, h):
    """Smooth colours, an edge and some noise."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    a = np.stack([128 + 100 * np.sin(x / 7 + y / 19), 128 + 100 * np.cos(y / 5 - x / 13), 255 * x / w], -1)
    a[(x - w / 2) ** 2 + (y - h / 2) ** 2 < (min(w, h) / 4) ** 2] = (250, 20, 30)
    return Image.fromarray(np.clip(a + rng.normal(0, 6, a.shape), 0, 255).astype(np.uint8))


def white(im):
    im = ImageOps.exif_transpose(im)
    if im.mode in ("RGBA", "LA", "PA") or "transparency" in im.info:
        im = im.convert("RGBA")
        back = Image.new("RGBA", im.size, "white")
        a = np.asarray(im).astype(int)
        return ((a[..., :3] * a[..., 3:] + 255 * (255 - a[..., 3:]) + 127) // 255).astype(np.uint8)
    if im.mode == "I;16": return np.repeat((np.asarray(im) >> 8).astype(np.uint8)[..., None], 3, -1)
    return np.asarray(im.convert("RGB"))


out = {}
def keep(im, name, **kw):
    path = os.path.join(HERE, name)
    im.save(path, **kw)
    out["file." + name] = white(Image.open(path))

s = scene(37, 29)
rgba = s.copy(); rgba.putalpha(Image.fromarray((np.mgrid[0:29, 0:37][1] * 6).astype(np.uint8)))
keep(s, "rgb.png"); keep(rgba, "rgba.png"); keep(s.convert("L"), "grey.png"); keep(s.quantize(16), "palette.png"); keep(rgba.convert("LA"), "la.png"); keep(s.convert("1"), "one.png")
keep(Image.fromarray((np.asarray(s.convert("L")).astype(np.uint16) * 257)), "grey16.png")
p = s.quantize(16); p.info["transparency"] = 3; keep(p, "transparent.png", transparency=3)
keep(s, "rgb.bmp"); keep(s, "rgb.gif"); keep(s.quantize(8), "transparent.gif", transparency=2)
keep(s, "444.jpg", quality=90, subsampling=0); keep(s, "422.jpg", quality=90, subsampling=1); keep(s, "420.jpg", quality=90, subsampling=2); keep(s.convert("L"), "grey.jpg"); keep(s, "progressive.jpg", progressive=True)
keep(s.convert("CMYK"), "cmyk.jpg", quality=95)
for o in range(1, 9):
    e = Image.Exif(); e[0x0112] = o
    keep(s.crop((0, 0, 21, 13)), f"exif{o}.jpg", exif=e, quality=95, subsampling=0)
keep(s, "lossless.webp", lossless=True); keep(s, "lossy.webp", quality=90); keep(rgba, "alpha.webp", lossless=True, exact=True)

# Planes of chroma of one and two columns are not smoothed across; those of half the height are, downwards.
keep(s.crop((0, 0, 2, 29)), "thin2.jpg", quality=95, subsampling=2); keep(s.crop((0, 0, 4, 29)), "thin4.jpg", quality=95, subsampling=1); keep(s.crop((0, 0, 5, 28)), "thin5.jpg", quality=95, subsampling=2)
# Pillow does not write 4:4:0, which a turn of 4:2:2 gives; OpenCV 5 wrote this one.
out["file.440.jpg"] = white(Image.open(os.path.join(HERE, "440.jpg")))
e = Image.Exif(); e[0x0112] = 6
keep(s.crop((0, 0, 21, 13)), "exif6.png", exif=e); keep(s.crop((0, 0, 21, 13)), "exif6.webp", exif=e, lossless=True)
keep(s, "moving.webp", save_all=True, append_images=[s.transpose(0)], lossless=True); keep(rgba, "moving-alpha.webp", save_all=True, append_images=[rgba.transpose(0)], quality=80)

for w, h in ((64, 48), (37, 91)):
    m = scene(w, h); out[f"source.{w}x{h}"] = np.asarray(m)
    for f in (0, 1, 2, 3, 4):
        for W, H in ((16, 16), (w, 20), (21, h), (1, 1), (100, 77), (63, 49), (7, 200)):
            # Pillow 13 takes the columns first for some shapes; up to 12, and here, the rows come first.
            out[f"resize.{w}x{h}.{f}.{W}x{H}"] = np.asarray(m.resize((W, h), f).resize((W, H), f) if f else m.resize((W, H), f))
for w, h in ((64, 48), (40, 43), (24, 24), (15, 9)):
    m = scene(w, h); out[f"picture.{w}x{h}"] = np.asarray(m)
    out[f"clip.{w}x{h}"] = np.asarray(CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})(m, return_tensors="np")["pixel_values"][0])
    out[f"wide.{w}x{h}"] = np.asarray(CLIPImageProcessor(size={"shortest_edge": 18}, crop_size={"height": 21, "width": 25}, resample=2)(m, return_tensors="np")["pixel_values"][0])
    out[f"blip.{w}x{h}"] = np.asarray(BlipImageProcessor(size={"height": 32, "width": 32})(m, return_tensors="np")["pixel_values"][0])
save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, os.path.join(HERE, "goldens.safetensors"))
print(len(out), "tensors", CLIPImageProcessor.__name__)
