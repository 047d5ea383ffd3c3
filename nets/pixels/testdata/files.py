"""Writes files/ and files.safetensors: small pictures of every kind that is read, and what Pillow makes of them.

Python 3.11, Pillow 12.0.0, numpy, safetensors, and cjpeg of libjpeg-turbo 2.1.5 (Debian's libjpeg-turbo-progs):
python files.py
"""
import io
import os
import random
import struct
import subprocess
import zlib

import numpy as np
from PIL import Image, ImageCms, ImageOps
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(2)
random.seed(2)
out = {}


def scene(w, h):
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    a = np.stack([128 + 100 * np.sin(x / 3 + y / 9), 128 + 100 * np.cos(y / 2 - x / 5), 255 * x / w], -1)
    return Image.fromarray(np.clip(a + rng.normal(0, 6, a.shape), 0, 255).astype(np.uint8))


def white(im):
    im = ImageOps.exif_transpose(im)
    if im.mode in ("RGBA", "LA", "PA") or "transparency" in im.info:
        a = np.asarray(im.convert("RGBA")).astype(int)
        return ((a[..., :3] * a[..., 3:] + 255 * (255 - a[..., 3:]) + 127) // 255).astype(np.uint8)
    if im.mode.startswith("I;16"): return np.repeat((np.asarray(im) >> 8).astype(np.uint8)[..., None], 3, -1)
    return np.asarray(im.convert("RGB"))


def keep(name, data, icc=False):
    """Pillow's view of a file; with its profile, sRGB."""
    open(os.path.join(HERE, "files", name), "wb").write(data)
    im = Image.open(io.BytesIO(data))
    if icc:
        im = ImageCms.profileToProfile(im, io.BytesIO(im.info["icc_profile"]), ImageCms.createProfile("sRGB"), outputMode="RGB")
    out[("icc." if icc else "file.") + name] = np.ascontiguousarray(white(im))


def saved(im, kind, **kw):
    b = io.BytesIO()
    im.save(b, kind, **kw)
    return b.getvalue()


def cjpeg(im, *flags):
    return subprocess.run(["cjpeg", "-quality", "85", *flags], input=saved(im, "PPM"), capture_output=True, check=True).stdout


# JPEG
s = scene(19, 21)
for f in "1x1 2x1 1x2 2x2 4x1 1x4 4x2 2x4 3x1 3x2 2x2,2x1,2x1 4x1,1x1,2x1 1x1,2x2,1x1".split():
    keep(f"baseline-{f.replace(',', '-')}.jpg", cjpeg(s, "-sample", f))
for f in ("1x1", "2x1", "2x2", "4x1"):
    keep(f"progressive-restart-{f}.jpg", cjpeg(s, "-sample", f, "-progressive", "-restart", "1B"))
keep("restart.jpg", cjpeg(s, "-sample", "2x2", "-restart", "1"))
keep("arithmetic.jpg", cjpeg(s, "-sample", "2x2", "-arithmetic")); keep("arithmetic-progressive.jpg", cjpeg(s, "-arithmetic", "-progressive"))
keep("rgb.jpg", cjpeg(s, "-rgb")); keep("grey-restart.jpg", cjpeg(s, "-grayscale", "-progressive", "-restart", "1B"))
cmyk = saved(s.convert("CMYK"), "JPEG")
keep("cmyk.jpg", cmyk); keep("cmyk-progressive.jpg", saved(s.convert("CMYK"), "JPEG", progressive=True))
at = cmyk.find(b"\xff\xee"); n = struct.unpack(">H", cmyk[at + 2:at + 4])[0]
keep("cmyk-no-marker.jpg", cmyk[:at] + cmyk[at + 2 + n:])
keep("ycck.jpg", cmyk[:at + 15] + b"\2" + cmyk[at + 16:])
keep("cmyk-subsampled.jpg", saved(s.convert("CMYK"), "JPEG", subsampling=2))
j = saved(s, "JPEG"); keep("trailing.jpg", j + b"more" * 9)

# Orientation
small = scene(9, 5)
j = saved(small, "JPEG", quality=95, subsampling=0)
app1 = lambda d: b"\xff\xe1" + struct.pack(">H", len(d) + 2) + d


def tags(kind, value, order="<", count=1, more=b""):
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IHHHI", 8, 1, 0x112, kind, count) + value + bytes(4) + more


def exif(*a, **kw): return app1(b"Exif\0\0" + tags(*a, **kw))


def turned(name, segment): keep(f"turn-{name}.jpg", j[:2] + segment + j[2:])


six = exif(3, struct.pack("<HH", 6, 0))
for o, e in (("<", "little"), (">", "big")):
    turned(f"{e}-short", exif(3, struct.pack(o + "HH", 6, 0), o)); turned(f"{e}-long", exif(4, struct.pack(o + "I", 6), o))
    turned(f"{e}-byte", exif(1, bytes([6, 0, 0, 0]), o)); turned(f"{e}-float", exif(11, struct.pack(o + "f", 6), o))
    turned(f"{e}-rational", exif(5, struct.pack(o + "I", 26), o, more=struct.pack(o + "II", 12, 2)))
    turned(f"{e}-three", exif(3, struct.pack(o + "I", 26), o, count=3, more=struct.pack(o + "HHH", 8, 2, 3)))
turned("fill", b"\xff\xff" + six); turned("fills", b"\xff" * 5 + six); turned("twice", six + exif(3, struct.pack("<HH", 3, 0)))
turned("in-comment", b"\xff\xfe\0\x06\xff\xd8\xff\xe1" + six); turned("nine", exif(3, struct.pack("<HH", 9, 0))); turned("cut", app1(b"Exif\0\0" + tags(3, b"\6\0\0\0")[:18]))
attribute, element = b'<rdf:Description tiff:Orientation="%d"/>', b"<tiff:Orientation>%d</tiff:Orientation>"
xmp = lambda t: app1(b"http://ns.adobe.com/xap/1.0/\0" + t)
for o in (3, 6, 8): turned(f"xmp-{o}", xmp(attribute % o)); turned(f"xmp-element-{o}", xmp(element % o))
turned("xmp-and-exif", xmp(attribute % 3) + six); turned("xmp-and-exif-0", xmp(attribute % 3) + exif(3, bytes(4)))


def png(chunks):
    def chunk(name, d): return struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def header(w, h, depth, colour): return b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0)


pixels = b"IDAT", zlib.compress(b"".join(b"\0" + r.tobytes() for r in np.asarray(small)))
profile = b"\nexif\n%8d\n" % (len(tags(3, b"\6\0\0\0")) + 6) + (b"Exif\0\0" + tags(3, b"\6\0\0\0")).hex().encode() + b"\n"
for o in range(1, 9):
    e = Image.Exif(); e[0x112] = o
    keep(f"turn-{o}.webp", saved(small, "WEBP", exif=e, lossless=True)); keep(f"turn-{o}.tif", saved(small, "TIFF", tiffinfo={0x112: o}))
    keep(f"turn-{o}.png", png([header(9, 5, 8, 2), pixels, (b"eXIf", tags(3, bytes([o, 0, 0, 0]))), (b"IEND", b"")]))
keep("turn-xmp.webp", saved(small, "WEBP", xmp=attribute % 6, lossless=True))
keep("turn-text.png", png([header(9, 5, 8, 2), (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)), pixels, (b"IEND", b"")]))
keep("turn-xmp.png", png([header(9, 5, 8, 2), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + attribute % 6), pixels, (b"IEND", b"")]))

# PNG
rows = lambda w, h, bits: zlib.compress(b"".join(b"\0" + rng.integers(0, 256, (w * bits + 7) // 8, dtype=np.uint8).tobytes() for _ in range(h)))
palette = rng.integers(0, 256, 768, dtype=np.uint8).tobytes()
for colour, n, depths in ((0, 1, (1, 2, 4)), (2, 3, (16,)), (3, 1, (1, 2, 4)), (4, 2, (16,)), (6, 4, (16,))):
    for d in depths:
        keep(f"colour{colour}-{d}.png", png([header(11, 6, d, colour)] + ([(b"PLTE", palette[:3 << d])] if colour == 3 else []) + [(b"IDAT", rows(11, 6, d * n)), (b"IEND", b"")]))
keep("palette-short.png", png([header(11, 6, 4, 3), (b"PLTE", palette[:6]), (b"tRNS", b"\x80\xff\0\1"), (b"IDAT", rows(11, 6, 4)), (b"IEND", b"")]))
keep("no-end.png", png([header(9, 5, 8, 2), (b"PLTE", palette), pixels]))
keep("moving.png", saved(scene(9, 5), "PNG", save_all=True, append_images=[small])); keep("moving-default.png", saved(scene(9, 5), "PNG", save_all=True, default_image=True, append_images=[small]))


# GIF
def lzw(indices, bits):
    acc = n = 0
    o = bytearray()
    for i in range(0, len(indices), (1 << bits) - 2):
        for code in [1 << bits, *indices[i:i + (1 << bits) - 2]]:
            acc |= code << n; n += bits + 1
            while n >= 8: o.append(acc & 255); acc >>= 8; n -= 8
    acc |= ((1 << bits) + 1) << n; n += bits + 1
    while n > 0: o.append(acc & 255); acc >>= 8; n -= 8
    return bytes(o)


def frame(x, y, w, h, transparent=None, local=b"", interlaced=0, pixels=None):
    d = lzw(rng.integers(0, 8, w * h).tolist() if pixels is None else pixels, 3)
    b = b"" if transparent is None else b"!\xf9\4\1\0\0" + bytes([transparent, 0])
    b += b"," + struct.pack("<HHHHB", x, y, w, h, (0x82 if local else 0) | interlaced << 6) + local + b"\3"
    for i in range(0, len(d), 255): b += bytes([len(d[i:i + 255])]) + d[i:i + 255]
    return b + b"\0"


def gif(w, h, *frames, table=palette[:24], background=5):
    return b"GIF89a" + struct.pack("<HHBBB", w, h, 0x82 if table else 2, background, 0) + table + b"".join(frames) + b";"


later = frame(0, 0, 14, 10)
keep("offset.gif", gif(14, 10, frame(4, 3, 7, 5), later)); keep("offset-transparent.gif", gif(14, 10, frame(4, 3, 7, 5, 3), later)); keep("offset-zero.gif", gif(14, 10, frame(4, 3, 7, 5, 0), later))
keep("offset-local.gif", gif(14, 10, frame(4, 3, 7, 5, 2, palette[30:54]), later)); keep("beyond.gif", gif(14, 10, frame(10, 8, 7, 5, 1), later)); keep("grey.gif", gif(14, 10, frame(0, 0, 14, 10), table=b""))
keep("interlaced.gif", gif(14, 10, frame(0, 0, 14, 10, interlaced=1))); keep("comment.gif", gif(14, 10, b"!\xfe\5hello\0!\xff\x0bNETSCAPE2.0\3\1\0\0\0", later))


# Moving WebP
def riff(chunks):
    o = b"".join(n + struct.pack("<I", len(d)) + d + bytes(len(d) & 1) for n, d in chunks)
    return b"RIFF" + struct.pack("<I", len(o) + 4) + b"WEBP" + o


def parts(im, **kw):
    d = saved(im, "WEBP", **kw)[12:]
    while d:
        n = struct.unpack("<I", d[4:8])[0]
        if d[:4] in (b"VP8 ", b"VP8L", b"ALPH"): yield d[:4], d[8:8 + n]
        d = d[8 + n + (n & 1):]


u24 = lambda *v: b"".join(struct.pack("<I", x)[:3] for x in v)
clear = scene(10, 8); clear.putalpha(Image.fromarray((np.mgrid[0:8, 0:10][1] * 25).astype(np.uint8)))
for name, alpha, im, kw in (("plain", 0, scene(10, 8), {}), ("alpha", 1, scene(10, 8), {}), ("clear", 1, clear, {}), ("clear-lossless", 1, clear, dict(lossless=True)), ("clear-plain", 0, clear, {})):
    f = lambda x, y, im, **kw: (b"ANMF", u24(x, y, im.width - 1, im.height - 1, 100) + b"\0" + riff(parts(im, **kw))[12:])
    keep(f"offset-{name}.webp", riff([(b"VP8X", bytes([2 | alpha << 4, 0, 0, 0]) + u24(19, 14)), (b"ANIM", struct.pack("<IH", 0xff336699, 0)), f(3, 2, im, **kw), f(0, 0, scene(20, 15))]))
for q in (10, 80): keep(f"lossy-{q}.webp", saved(s, "WEBP", quality=q))


# BMP
def bmp(w, h, depth, data, size=40, compression=0, table=b"", masks=b"", colours=0):
    if size == 12: head = struct.pack("<IHHHH", 12, w, h, 1, depth)
    else: head = (struct.pack("<IiiHHIIiiII", size, w, h, 1, depth, compression, len(data), 0, 0, colours, 0) + (masks if size > 40 else b"")).ljust(size, b"\0") + (masks if size == 40 else b"")
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(table) + len(data), 0, 0, 14 + len(head) + len(table)) + head + table + data


four = b"".join(palette[i:i + 3] + b"\0" for i in range(0, 768, 3))
noise = lambda w, h, depth: rng.integers(0, 256, (w * depth + 31) // 32 * 4 * h, dtype=np.uint8).tobytes()
for d in (1, 4, 8, 16, 24, 32):
    keep(f"{d}.bmp", bmp(11, 6, d, noise(11, 6, d), table=four[:4 << d] if d <= 8 else b"")); keep(f"{d}-down.bmp", bmp(11, -6, d, noise(11, 6, d), 124, table=four[:4 << d] if d <= 8 else b""))
    if d in (1, 4, 8, 24): keep(f"{d}-os2.bmp", bmp(11, 6, d, noise(11, 6, d), 12, table=palette[:3 << d] if d <= 8 else b"")); keep(f"{d}-os22.bmp", bmp(11, 6, d, noise(11, 6, d), 64, table=four[:4 << d] if d <= 8 else b""))
keep("few-colours.bmp", bmp(11, 6, 8, noise(11, 6, 8), table=four[:40], colours=10))
for d, name, masks in ((16, "565", (0xf800, 0x7e0, 0x1f)), (16, "555", (0x7c00, 0x3e0, 0x1f)), (32, "bgrx", (0xff0000, 0xff00, 0xff)), (32, "xbgr", (0xff000000, 0xff0000, 0xff00)), (32, "rgba", (0xff, 0xff00, 0xff0000, 0xff000000))):
    keep(f"fields-{name}.bmp", bmp(11, 6, d, noise(11, 6, d), 108 if len(masks) == 4 else 40, 3, masks=struct.pack(f"<{len(masks)}I", *masks)))


def runs(half):
    o = b""
    for _ in range(6):
        x = 0
        while x < 11:
            n = min(11 - x, random.randrange(1, 7))
            if n == 4: o += b"\0\4" + rng.integers(0, 256, 2 if half else 4, dtype=np.uint8).tobytes()
            else: o += bytes([n, random.randrange(256)])
            x += n
        o += b"\0\0"
    return o + b"\0\1"


keep("rle8.bmp", bmp(11, 6, 8, runs(False), compression=1, table=four)); keep("rle4.bmp", bmp(11, 6, 4, runs(True), compression=2, table=four[:64]))

# TIFF
la = clear.convert("LA")
for name, im in (("1", small.convert("1")), ("l", small.convert("L")), ("la", la), ("p", small.quantize(9)), ("rgb", small), ("rgba", clear), ("cmyk", small.convert("CMYK")),
                 ("i16", Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)), ("f", Image.fromarray(np.asarray(small.convert("L")).astype(np.float32) * 1.3 - 20))):
    for pack in (None, "packbits", "tiff_lzw", "tiff_adobe_deflate"):
        keep(f"{name}-{pack or 'raw'}.tif", saved(im, "TIFF", **({"compression": pack} if pack else {})))
for pack in ("group3", "group4"): keep(f"{pack}.tif", saved(scene(40, 12).convert("1"), "TIFF", compression=pack))
for name, im in (("rgb", scene(40, 33)), ("l", scene(40, 33).convert("L")), ("cmyk", scene(40, 33).convert("CMYK"))):
    keep(f"{name}-jpeg.tif", saved(im, "TIFF", compression="jpeg", tiffinfo={278: 16})); keep(f"{name}-difference.tif", saved(im.crop((0, 0, 9, 9)), "TIFF", compression="tiff_lzw", tiffinfo={317: 2, 278: 4}))
keep("big.tif", saved(small, "TIFF", big_tiff=True)); keep("big-endian-16.tif", saved(Image.frombytes("I;16B", (4, 3), rng.integers(0, 256, 24, dtype=np.uint8).tobytes()), "TIFF"))
keep("ycbcr-jpeg.tif", saved(scene(40, 33).convert("YCbCr"), "TIFF", compression="jpeg"))


# ICC profiles: gamma 1.8 and the primaries of Adobe RGB, and grey of gamma 1.8.
def icc(space, entries):
    entries = {"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"p\0" + bytes(78), "cprt": b"text" + bytes(4) + b"p\0", "wtpt": xyz(0.9642, 1, 0.8249), **entries}
    table, body, at = b"", b"", 128 + 4 + 12 * len(entries)
    for k, v in entries.items():
        v += bytes(-len(v) % 4); table += k.encode() + struct.pack(">II", at, len(v)); body += v; at += len(v)
    head = struct.pack(">I4sI4s4s4s", at, bytes(4), 0x02100000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp" + bytes(28) + xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(entries)) + table + body


def xyz(*v): return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(x * 65536) for x in v))


gamma = b"curv" + bytes(4) + struct.pack(">IH", 1, round(1.8 * 256))
wide = icc(b"RGB ", {"rXYZ": xyz(0.6097, 0.3111, 0.0195), "gXYZ": xyz(0.2053, 0.6257, 0.0609), "bXYZ": xyz(0.1492, 0.0632, 0.7446), "rTRC": gamma, "gTRC": gamma, "bTRC": gamma})
grey = icc(b"GRAY", {"kTRC": gamma})
keep("wide.jpg", saved(s, "JPEG", icc_profile=wide), True); keep("wide.png", saved(small, "PNG", icc_profile=wide), True); keep("wide.webp", saved(small, "WEBP", icc_profile=wide, lossless=True), True); keep("wide.tif", saved(small, "TIFF", icc_profile=wide), True)
keep("grey-profile.png", saved(small.convert("L"), "PNG", icc_profile=grey), True)
for name in ("wide.jpg", "wide.png"): out["file." + name] = np.ascontiguousarray(white(Image.open(os.path.join(HERE, "files", name))))

save_file(out, os.path.join(HERE, "files.safetensors"))
print(len(out), "pictures")
