"""Writes goldens.safetensors: what Pillow and OpenCV make of a masked picture in the order of AUTOMATIC1111's web UI 1.10.

Python 3.11, pillow 12.2.0, opencv-python-headless 4.11.0.86, numpy 2.2, safetensors: python goldens.py && go run ../../../../weights/packed/pack goldens.safetensors
"""
import json, os
import cv2
import numpy as np
from PIL import Image, ImageFilter, ImageOps
from safetensors.numpy import save_file

rng = np.random.default_rng(0)
LATENT = 8


def scene(w, h):
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    a = np.stack([128 + 100 * np.sin(x / 7 + y / 19), 128 + 100 * np.cos(y / 5 - x / 13), 255 * x / w], -1)
    return Image.fromarray(np.clip(a + rng.normal(0, 6, a.shape) * (rng.random(a.shape) < 0.1), 0, 255).astype(np.uint8))


def blob(w, h, box, value=255):
    a = np.zeros((h, w), np.uint8)
    x0, y0, x1, y1 = box
    y, x = np.mgrid[0:h, 0:w]
    a[((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1] = value
    return Image.fromarray(a)


def fit(im, w, h, mode):
    lanczos = lambda im, w, h: im if im.size == (w, h) else im.resize((w, h), Image.LANCZOS)
    if mode == 0:
        return lanczos(im, w, h)
    want, have = w / h, im.width / im.height
    cover = mode == 1
    by_width = want > have if cover else want < have
    by_height = want <= have if cover else want >= have
    sw = w if by_width else im.width * h // im.height
    sh = h if by_height else im.height * w // im.width
    small, out = lanczos(im, sw, sh), Image.new("RGB", (w, h))
    out.paste(small, (w // 2 - sw // 2, h // 2 - sh // 2))
    top, left = h // 2 - sh // 2, w // 2 - sw // 2
    if not cover and want < have and top > 0:
        out.paste(small.resize((w, top), box=(0, 0, w, 0)), (0, 0))
        out.paste(small.resize((w, top), box=(0, sh, w, sh)), (0, top + sh))
    if not cover and want > have and left > 0:
        out.paste(small.resize((left, h), box=(0, 0, 0, h)), (0, 0))
        out.paste(small.resize((left, h), box=(sw, 0, sw, h)), (left + sw, 0))
    return out


def widen(lo, hi, want, end):
    more = int(want - (hi - lo))
    lo, hi = lo - more // 2, hi + more - more // 2
    if hi >= end:
        lo, hi = lo - (hi - end), end
    if lo < 0:
        lo, hi = 0, min(hi - lo, end)
    return lo, hi


def region(mask, pad, w, h):
    x0, y0, x1, y1 = mask.getbbox()
    x0, y0, x1, y1 = max(x0 - pad, 0), max(y0 - pad, 0), min(x1 + pad, mask.width), min(y1 + pad, mask.height)
    if (x1 - x0) / (y1 - y0) > w / h:
        y0, y1 = widen(y0, y1, (x1 - x0) / (w / h), mask.height)
    else:
        x0, x1 = widen(x0, x1, (y1 - y0) * (w / h), mask.width)
    return x0, y0, x1, y1


def kept(im, mask):
    out = Image.new("RGBa", im.size)
    out.paste(im.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    return out


def filled(im, mask):
    source, out = kept(im, mask), Image.new("RGBA", im.size)
    for radius, times in (256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1):
        blurred = source.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            out.alpha_composite(blurred)
    return out.convert("RGB")


CASES = [  # size of the picture, the mask's ellipse and value, options
    dict(size=(56, 48), box=(10, 12, 30, 30), W=32, H=32, BlurX=4, BlurY=4, Fill=True, OnlyMasked=True, Padding=0),  # the API's defaults
    dict(size=(56, 48), box=(30, 2, 55, 20), W=48, H=24, BlurX=2, BlurY=0, OnlyMasked=True, Padding=5),
    dict(size=(37, 61), box=(2, 2, 35, 12), W=32, H=32, BlurX=0, BlurY=1, OnlyMasked=True, Padding=40, Fill=True),
    dict(size=(56, 20), box=(20, 3, 24, 19), W=24, H=48, BlurX=0, BlurY=0, OnlyMasked=True, Padding=3),
    dict(size=(36, 28), box=(10, 8, 23, 18), W=16, H=16, BlurX=0, BlurY=0, OnlyMasked=True, Padding=0),
    dict(size=(40, 40), box=(5, 5, 33, 30), W=40, H=40, BlurX=4, BlurY=4, Fill=True),
    dict(size=(56, 48), box=(5, 5, 33, 30), W=32, H=40, BlurX=11.3, BlurY=0.4, value=200),
    dict(size=(56, 31), box=(5, 5, 33, 30), W=32, H=40, BlurX=1, BlurY=1, Fit=1, Fill=True),
    dict(size=(56, 31), box=(5, 5, 33, 30), W=32, H=40, BlurX=1, BlurY=1, Fit=2, Fill=True),
    dict(size=(31, 50), box=(5, 5, 28, 30), W=40, H=32, BlurX=30, BlurY=1, Fit=2),
    dict(size=(31, 50), box=(5, 5, 28, 30), W=40, H=32, BlurX=3, BlurY=60, Fit=1),
    dict(size=(9, 140), box=(0, 50, 9, 70), W=16, H=16, BlurX=4, BlurY=4, Fit=2, Fill=True),
]
out, metadata = {}, []
for i, c in enumerate(CASES):
    c = dict(c)
    m, mask = scene(*c.pop("size")), None
    mask = blob(m.width, m.height, c.pop("box"), c.pop("value", 255))
    name, W, H = f"{i}.", c["W"], c["H"]
    metadata.append(c)
    out[name + "image"], out[name + "mask"] = np.asarray(m), np.asarray(mask)
    for axis, s in (0, c["BlurX"]), (1, c["BlurY"]):
        n = 2 * int(2.5 * s + 0.5) + 1
        if s > 0:
            mask = Image.fromarray(cv2.GaussianBlur(np.array(mask), (n, 1) if axis == 0 else (1, n), s))
    out[name + "blurred"] = np.asarray(mask)
    if c.get("OnlyMasked"):
        box = region(mask, c["Padding"], W, H)
        over, init, mask = kept(m, mask).convert("RGBA"), fit(m.crop(box), W, H, 2), fit(mask.crop(box), W, H, 2)
    else:
        mask, init = fit(mask, W, H, c.get("Fit", 0)), fit(m, W, H, c.get("Fit", 0))
        over = kept(init, Image.fromarray(np.clip(np.array(mask.convert("L")).astype(np.float32) * 2, 0, 255).astype(np.uint8))).convert("RGBA")
    if c.get("Fill"):
        init = filled(init, mask)
    small = np.asarray(mask.convert("RGB").resize((W // LATENT, H // LATENT)), np.float32)[..., 0] / 255
    drawn = scene(W, H)
    done = drawn
    if c.get("OnlyMasked"):
        x0, y0, x1, y1 = box
        done = Image.new("RGBA", over.size)
        done.paste(fit(drawn, x1 - x0, y1 - y0, 1), (x0, y0))
    done = done.convert("RGBA")
    done.alpha_composite(over)
    out |= {name + "init": np.asarray(init), name + "latents": np.around(small).astype(np.uint8), name + "drawn": np.asarray(drawn), name + "done": np.asarray(done.convert("RGB"))}
save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens.safetensors"), {"cases": json.dumps(metadata)})
