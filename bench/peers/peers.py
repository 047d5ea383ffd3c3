"""Times Parley beside torch, OpenVINO, onnxruntime, candle and stable-diffusion.cpp on the same weights,
all cores, in f32 and, where a work's name ends in -fast, in bfloat16.

    python peers.py PARLEY [--rounds 3] [--data DIR] [--peers torch,openvino,onnxruntime,candle,sdcpp] [WORK…]

Models with random weights are made once in --data (out/peers; 25 GB). Each round runs every
peer and Parley once, one after the other, each in a process of its own: it loads, runs once
to warm up and is timed from there. Outputs are held against torch's. What was measured is kept
in results.json there, and RESULTS.md beside this file is written from it after each work.
Python 3.11 and requirements.txt; 16 GB of memory. candle is built by cargo and stable-diffusion.cpp
by CMake, both for this machine's processor; where they cannot be, they are left out with the reason.
"""
import argparse, json, os, re, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
RUNS = 2  # timed ones of a process, of which the faster counts

PEERS = {"torch": "torch", "openvino": "OpenVINO", "onnxruntime": "onnxruntime", "candle": "candle", "sdcpp": "stable-diffusion.cpp"}
SDCPP = "stable-diffusion-cpp-python==0.4.7"  # carries stable-diffusion.cpp's source
SDCPP_WAYS = {"plain": (), "flash": ("flash_attn", "diffusion_flash_attn"), "direct": ("diffusion_conv_direct", "vae_conv_direct")}  # the fastest counts

# net of `parley forward`, folder of the model, inputs (a number: a scalar; "ids": token ids), output, share to reach
NETS = {
    "unet-512": ("unet", "sd/unet", {"sample": [2, 4, 64, 64], "timestep": 501, "encoder_hidden_states": [2, 77, 768]}, "sample", 0.60),
    "unet-256": ("unet", "sd/unet", {"sample": [2, 4, 32, 32], "timestep": 501, "encoder_hidden_states": [2, 77, 768]}, "sample", 0.60),
    "unet-256-x4": ("unet", "sd/unet", {"sample": [8, 4, 32, 32], "timestep": 501, "encoder_hidden_states": [8, 77, 768]}, "sample", 0.60),
    "unet-512-x4": ("unet", "sd/unet", {"sample": [8, 4, 64, 64], "timestep": 501, "encoder_hidden_states": [8, 77, 768]}, "sample", 0.60),
    "vae-decode-512": ("vae-decode", "sd/vae", {"latents": [1, 4, 64, 64]}, "sample", 0.45),
    "clip-images-16": ("clip-image", "clip", {"pixel_values": [16, 3, 224, 224]}, "image_embeds", 0.90),
    "clip-texts-16": ("clip-text", "clip", {"input_ids": [16, 77]}, "text_embeds", 0.80),
    "blip-vision": ("blip-vision", "blip", {"pixel_values": [1, 3, 384, 384]}, "last_hidden_state", 0.90),
}
# The same in bfloat16, which onnxruntime does not have on a CPU: no share is to be reached.
for w in [w for w in NETS if w != "unet-512-x4"]:
    NETS[w + "-fast"] = NETS[w][:4] + (None,)
# Works that are no single net: torch alone has them ready to run.
WHOLE = {"captions-10": 0.15, "reconstruction": 0.50, "first-output": 0.05}
WORDS = {
    "unet-512": "SD 1.5 UNet step, guided pair, 512x512", "unet-256": "the same, 256x256", "unet-256-x4": "the same, four pairs, 256x256",
    "unet-512-x4": "the same, four pairs, 512x512", "vae-decode-512": "VAE decode, 512x512", "clip-images-16": "CLIP B/32, 16 images",
    "clip-texts-16": "CLIP B/32, 16 texts of 77 ids", "blip-vision": "BLIP base, one image's encoding", "captions-10": "BLIP base, 10 nucleus captions of 20 ids",
    "reconstruction": "image reconstruction, K = 4, 512x512, 10 steps, from process start", "first-output": "first caption of the mini models, from process start",
}


plain = lambda work: work.removesuffix("-fast")


# ---- models and inputs

def modules(work, data):
    """The torch module of a net, as its peers run it, and its inputs' names in order."""
    import torch
    from transformers import BlipForConditionalGeneration, CLIPModel
    from diffusers import AutoencoderKL, UNet2DConditionModel
    net, folder = NETS[work][:2]
    path = f"{data}/{folder}"

    class Wrap(torch.nn.Module):
        def __init__(self, m, f):
            super().__init__(); self.m, self.f = m, f
        def forward(self, *x):
            return self.f(self.m, *x)
    unit = lambda e: e / e.norm(dim=-1, keepdim=True)
    if net == "unet":
        m, f = UNet2DConditionModel.from_pretrained(path), lambda m, z, t, e: m(z, t, e, return_dict=False)[0]
    elif net == "vae-decode":
        m, f = AutoencoderKL.from_pretrained(path), lambda m, z: m.decode(z, return_dict=False)[0]
    elif net == "clip-image":
        m, f = CLIPModel.from_pretrained(path), lambda m, x: unit(m.visual_projection(m.vision_model(x).pooler_output))
    elif net == "clip-text":
        m, f = CLIPModel.from_pretrained(path), lambda m, i: unit(m.text_projection(m.text_model(i).pooler_output))
    else:
        m, f = BlipForConditionalGeneration.from_pretrained(path), lambda m, x: m.vision_model(x).last_hidden_state
    return Wrap(m.eval(), f).eval()


def tensors(work):
    import torch
    g = torch.Generator().manual_seed(7)
    out = {}
    for name, shape in NETS[work][2].items():
        if name == "input_ids":
            out[name] = torch.randint(0, 49000, shape, generator=g)
            out[name][:, -1] = 49407  # no id could be left out
        elif isinstance(shape, int):
            out[name] = torch.tensor(shape)
        elif name == "sample":  # a guided pair is the same latents with two texts
            out[name] = torch.randn([shape[0] // 2] + shape[1:], generator=g).repeat(2, 1, 1, 1)
        else:
            out[name] = torch.randn(shape, generator=g)
    return out


def inputs(work, data):
    """Writes what Parley is given."""
    import torch
    from safetensors.torch import save_file
    if work == "captions-10":
        x = {"pixel_values": torch.randn(1, 3, 384, 384, generator=torch.Generator().manual_seed(7)), "input_ids": torch.full((10, 1), 30522)}
    else:
        x = {k: v.reshape(1) if v.dim() == 0 else v for k, v in tensors(work).items()}
        if NETS[work][0] == "unet":
            x["sample"] = x["sample"].chunk(2)[0].clone()  # a guided pair's latents, once
    os.makedirs(f"{data}/io", exist_ok=True)
    save_file(x, f"{data}/io/{work}.safetensors")


def make(data):
    """Writes the models, a picture and the vocabularies that Parley wants beside them."""
    import torch
    from PIL import Image
    from transformers import BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    torch.manual_seed(0)
    text = dict(hidden_size=512, num_hidden_layers=12, num_attention_heads=8, intermediate_size=2048)
    base = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072)
    CLIPModel(CLIPConfig(text_config=text, vision_config=dict(base, patch_size=32), projection_dim=512)).save_pretrained(f"{data}/clip")
    m = BlipForConditionalGeneration(BlipConfig(text_config=dict(vocab_size=30524, num_attention_heads=12, encoder_hidden_size=768), vision_config=dict(base, image_size=384)))
    for p in m.vision_model.parameters():
        if p.dim() > 1 and p.std() < 1e-6: torch.nn.init.normal_(p, 0, 0.02)  # transformers' default is 1e-10
    m.save_pretrained(f"{data}/blip")
    UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).save_pretrained(f"{data}/sd/unet")
    AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4).save_pretrained(f"{data}/sd/vae")
    CLIPTextModel(CLIPTextConfig(**base)).save_pretrained(f"{data}/sd/text_encoder")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1).save_pretrained(f"{data}/sd/scheduler")
    noise = torch.randint(0, 256, (12, 16, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).resize((640, 480), Image.BICUBIC).save(f"{data}/picture.png")
    open(f"{data}/made", "w").close()


def export(peer, net, data):
    """Converts a net for OpenVINO or onnxruntime; any batch and size."""
    import torch
    path = f"{data}/{peer}/{net}"
    os.makedirs(path, exist_ok=True)
    work = next(w for w in NETS if NETS[w][0] == net)
    m, x = modules(work, data), tuple(tensors(work).values())
    with torch.no_grad():
        if peer == "openvino":
            import openvino
            openvino.save_model(openvino.convert_model(m, example_input=x), f"{path}/model.xml", compress_to_fp16=False)
        else:
            axes = [{0: torch.export.Dim.AUTO, **({2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO} if t.dim() == 4 and net in ("unet", "vae-decode") else {})} if t.dim() else {} for t in x]
            torch.onnx.export(m, x, f"{path}/model.onnx", dynamo=True, external_data=True, dynamic_shapes=(tuple(axes),), input_names=list(tensors(work)))
    open(f"{path}/made", "w").close()


# ---- one process of a peer

def runner(peer, work, data):
    """Loads, and returns a function that runs the net once and gives its output as numpy."""
    import numpy as np
    net = NETS[work][0]
    x = tensors(work)
    fast = work != plain(work)
    if peer == "torch":
        import torch
        m = modules(work, data)
        def run():
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
                return m(*x.values()).float()
        return run
    arrays = [t.numpy() for t in x.values()]
    if peer == "openvino":
        import openvino
        core = openvino.Core()
        m = core.read_model(f"{data}/openvino/{net}/model.xml")
        m.reshape({i: a.shape for i, a in enumerate(arrays)})
        c = core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "bf16" if fast else "f32", "PERFORMANCE_HINT": "LATENCY"})
        return lambda: c(arrays)[0]
    import onnxruntime
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = os.cpu_count()
    s = onnxruntime.InferenceSession(f"{data}/onnxruntime/{net}/model.onnx", o, providers=["CPUExecutionProvider"])
    feed = {i.name: a for i, a in zip(s.get_inputs(), arrays)}
    return lambda: s.run(None, feed)[0]


def for_sdcpp(data):
    """The pipeline again, its text encoder with the names that transformers had before its fifth version."""
    from safetensors.torch import load_file, save_file
    os.makedirs(f"{data}/sdcpp/text_encoder", exist_ok=True)
    for part in ("unet", "vae"):
        if not os.path.lexists(f"{data}/sdcpp/{part}"): os.symlink(f"{data}/sd/{part}", f"{data}/sdcpp/{part}")
    text = load_file(f"{data}/sd/text_encoder/model.safetensors")
    save_file({k if k.startswith("text_model.") else "text_model." + k: v for k, v in text.items()}, f"{data}/sdcpp/text_encoder/model.safetensors")
    open(f"{data}/sdcpp/made", "w").close()


def sdcpp(work, data, way):
    """stable-diffusion.cpp's own times in a drawing: of each step after the first, or of the decoder.

    It takes a guided step as two runs of the UNet, and gives no output of a net to hold against torch's.
    """
    import stable_diffusion_cpp as sd
    from stable_diffusion_cpp import stable_diffusion_cpp as c
    side, vae = 256 if "256" in work else 512, "vae" in work
    steps, decoded = [], []
    def log(level, text, _):
        if found := re.search(rb"latent 1 decoded, taking ([0-9.]+)s", text):
            decoded.append(float(found[1]))
    log = c.sd_log_callback(log)
    c.sd_set_log_callback(log, None)
    m = sd.StableDiffusion(model_path=f"{data}/sdcpp", n_threads=os.cpu_count(), wtype="f32", **{flag: True for flag in SDCPP_WAYS[way]})
    for _ in range(RUNS if vae else 1):
        m.generate_image("a lighthouse", width=side, height=side, cfg_scale=7.5, sample_method="euler", sample_steps=1 if vae else 1 + RUNS, progress_callback=lambda *_: steps.append(time.time()))
    print(json.dumps({"seconds": decoded if vae else [b - a for a, b in zip(steps, steps[1:])][-RUNS:]}))


def captions(data):
    import torch
    from transformers import BlipForConditionalGeneration
    m = BlipForConditionalGeneration.from_pretrained(f"{data}/blip").eval()
    x = torch.randn(1, 3, 384, 384, generator=torch.Generator().manual_seed(7))
    def run():
        with torch.inference_mode():
            return m.generate(pixel_values=x, do_sample=True, top_p=0.9, num_return_sequences=10, max_length=20, min_length=20)
    return run


def pixels(picture, side):
    """A PIL picture as BLIP and CLIP take it, [1, 3, side, side]."""
    import numpy as np, torch
    from PIL import Image
    a = torch.tensor(np.asarray(picture.convert("RGB").resize((side, side), Image.BICUBIC), dtype=np.float32) / 255)
    return ((a - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor([0.26862954, 0.26130258, 0.27577711])).permute(2, 0, 1)[None]


def first(models):
    """The first thing that a user of the miniature models sees."""
    import torch
    from PIL import Image
    from transformers import BlipForConditionalGeneration
    m = BlipForConditionalGeneration.from_pretrained(f"{models}/blip").eval()
    x = pixels(Image.open(sys.argv[-1]), m.config.vision_config.image_size)
    words = open(f"{models}/blip/vocab.txt").read().split("\n")
    with torch.inference_mode():
        print(" ".join(words[i] for i in m.generate(pixel_values=x, num_beams=3, max_length=20)[0]))


def reconstruct(data):
    """K = 4 captions of a picture, a drawing of each in 10 steps, CLIP's choice; ids take the place of words."""
    import torch
    from PIL import Image
    from transformers import BlipForConditionalGeneration, CLIPModel, CLIPTextModel
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    blip, clip = BlipForConditionalGeneration.from_pretrained(f"{data}/blip").eval(), CLIPModel.from_pretrained(f"{data}/clip").eval()
    words = CLIPTextModel.from_pretrained(f"{data}/sd/text_encoder").eval()
    pipe = StableDiffusionPipeline(AutoencoderKL.from_pretrained(f"{data}/sd/vae"), words, None, UNet2DConditionModel.from_pretrained(f"{data}/sd/unet"), DDIMScheduler.from_pretrained(f"{data}/sd/scheduler"), None, None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    picture = Image.open(f"{data}/picture.png")
    def embed(p):
        return torch.nn.functional.normalize(clip.visual_projection(clip.vision_model(pixels(p, 224)).pooler_output), dim=-1)
    with torch.inference_mode():
        texts = blip.generate(pixel_values=pixels(picture, 384), do_sample=True, top_p=0.9, num_return_sequences=4, max_length=20, min_length=5)
        ids = torch.full((5, 77), 49407); ids[:, 0] = 49406
        ids[1:, 1:1 + texts.shape[1]] = texts
        e = words(ids).last_hidden_state
        source, scores = embed(picture), []
        for i in range(1, 5):
            p = pipe(prompt_embeds=e[i:i + 1], negative_prompt_embeds=e[:1], num_inference_steps=10, guidance_scale=7.5, height=512, width=512).images[0]
            scores.append((embed(p) @ source.T).item())
    print(max(range(4), key=lambda i: scores[i]), scores)


def worker(peer, work, data, out):
    import numpy as np
    start = time.time()
    run = captions(data) if work == "captions-10" else runner(peer, work, data)
    y = run()
    loaded, seconds = time.time() - start, []
    for _ in range(RUNS):
        start = time.time(); run(); seconds.append(time.time() - start)
    np.save(out, np.asarray(y))
    print(json.dumps({"seconds": seconds, "first_s": loaded}))


# ---- the comparison

def spawn(args, **env):
    """Runs a process; gives its standard output, its seconds and the peak of its memory.

    That counts from this process's own, which therefore imports nothing large.
    """
    start = time.time()
    p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env})
    errors = []
    t = threading.Thread(target=lambda: errors.append(p.stderr.read())); t.start()
    out = p.stdout.read(); t.join()
    _, status, use = os.wait4(p.pid, 0)
    p.returncode = status
    if status:
        raise RuntimeError(f"{' '.join(args)}: {errors[0].decode()[-600:]}")
    return out.decode(), time.time() - start, use.ru_maxrss * 1024


def measure(peer, work, data, parley, threads):
    """One process's figures: its best seconds, its peak memory, the file or text of its output."""
    if work in ("reconstruction", "first-output"):
        mini = f"{data}/mini"
        if peer == "torch":
            if not os.path.exists(f"{mini}/blip"):
                os.makedirs(mini, exist_ok=True)
                spawn([parley, "convert", os.path.join(HERE, "../../weights/mini/models/blip"), f"{mini}/blip"])
            _, s, peak = spawn([sys.executable, __file__, "--worker", work, data if work == "reconstruction" else mini, f"{data}/picture.png"])
        elif work == "reconstruction":
            _, s, peak = spawn([parley, "reconstruct", "image", f"{data}/picture.png", "-k", "4", "--steps", "10", "--device", "cpu", "--threads", str(threads), "--models", data, "--out", f"{data}/drawn"])
        else:
            _, s, peak = spawn([parley, "caption", f"{data}/picture.png", "--device", "cpu", "--threads", str(threads)])
        return s, peak, None
    if peer != "parley":
        y = f"{data}/{peer}-{work}.npy"
        args = [sys.executable, __file__, "--worker", f"{peer}:{work}", data, y]
        if peer == "candle":
            args = [f"{data}/candle/release/candle-peer", work, data, y, str(RUNS)]
        if peer == "sdcpp":
            tried = []
            for way in SDCPP_WAYS:
                try:
                    o, _, peak = spawn([sys.executable, __file__, "--worker", f"sdcpp:{work}:{way}", data, "-"])
                    tried.append((min(json.loads(o.splitlines()[-1])["seconds"]), peak, None))
                    print(f"stable-diffusion.cpp, {way}: {tried[-1][0]:.3f} s", flush=True)
                except RuntimeError as e:
                    failed = e
            if not tried:
                raise failed
            return min(tried)
        o, _, peak = spawn(args)
        return min(json.loads(o.splitlines()[-1])["seconds"]), peak, y
    y = f"{data}/io/out.safetensors"
    common = ["--out", y, "--in", f"{data}/io/{plain(work)}.safetensors", "--device", "cpu", "--precision", "f32" if work == plain(work) else "fast", "--threads", str(threads), "--repeat", str(1 + RUNS), "--json"]
    if work == "captions-10":
        args = ["blip-generate", "--model", f"{data}/blip", "--sample", "--top-p", "0.9", "--min-length", "20"]
    else:
        args = [NETS[work][0], "--model", f"{data}/{NETS[work][1]}"]
    o, _, peak = spawn([parley, "forward"] + args + common)
    return min(json.loads(o)["seconds"][1:]), peak, y


def error(work, data, y):
    """‖y - torch's‖ / ‖torch's‖, torch's in f32."""
    import numpy as np
    if y.endswith(".npy"):
        have = np.load(y)
    else:
        from safetensors.numpy import load_file
        have = load_file(y)[NETS[work][3]]
    want = np.load(f"{data}/torch-{plain(work)}.npy").astype(np.float64)
    return float(np.linalg.norm(have.astype(np.float64).ravel() - want.ravel()) / np.linalg.norm(want))


def ready(peer, work, data):
    if not os.path.exists(f"{data}/made"):
        spawn([sys.executable, __file__, "--worker", "make", data, "-"])
    if work not in ("reconstruction", "first-output") and not os.path.exists(f"{data}/io/{plain(work)}.safetensors"):
        spawn([sys.executable, __file__, "--worker", f"inputs:{plain(work)}", data, "-"])
    if work != plain(work) and not os.path.exists(f"{data}/torch-{plain(work)}.npy"):
        spawn([sys.executable, __file__, "--worker", f"torch:{plain(work)}", data, f"{data}/torch-{plain(work)}.npy"])
    if peer in ("openvino", "onnxruntime") and not os.path.exists(f"{data}/{peer}/{NETS[work][0]}/made"):
        print(f"converting {NETS[work][0]} for {peer}", flush=True)
        spawn([sys.executable, __file__, "--worker", f"export:{peer}:{NETS[work][0]}", data, "-"])
    if peer == "candle":
        spawn(["cargo", "build", "--release", "--locked", "--manifest-path", f"{HERE}/candle/Cargo.toml"], CARGO_TARGET_DIR=f"{data}/candle", RUSTFLAGS="-C target-cpu=native")
    if peer == "sdcpp":
        spawn([sys.executable, "-m", "pip", "install", "-q", SDCPP])
        if not os.path.exists(f"{data}/sdcpp/made"):
            spawn([sys.executable, __file__, "--worker", "sdcpp", data, "-"])


def has(peer, work):
    """Whether a peer has a work ready to run."""
    if work in ("reconstruction", "first-output"): return peer == "torch"
    if work == "captions-10": return peer in ("torch", "candle")
    if work != plain(work): return peer in ("torch", "openvino")  # the others have no bfloat16 that is faster
    return peer != "sdcpp" or work in ("unet-512", "unet-256", "vae-decode-512")


def compare(work, peers, rounds, data, parley):
    cores = os.cpu_count()
    peers = [p for p in peers if has(p, work)]
    row = {"seconds": {}, "peak": {}, "error": {}, "failed": {}}
    for peer in peers:
        try:
            ready(peer, work, data)
        except RuntimeError as e:
            row["failed"][peer] = str(e)[-300:]
    one = work not in ("first-output", "reconstruction")
    for n in range(rounds):
        for who, threads in [(p, cores) for p in peers if p not in row["failed"]] + [("parley", cores)] + ([("parley on one core", 1)] if one and n == 0 else []):
            try:
                s, peak, y = measure(who.split()[0], work, data, parley, threads)
            except RuntimeError as e:
                row["failed"][who] = str(e)[-300:]
                continue
            row["seconds"].setdefault(who, []).append(s)
            row["peak"][who] = max(peak, row["peak"].get(who, 0))
            if y and work in NETS and (who != "torch" or work != plain(work)):
                row["error"][who] = max(error(work, data, y), row["error"].get(who, 0))
            print(f"{work} round {n + 1}: {who} {s:.3f} s, {peak / 1e9:.2f} GB" + (f", error {row['error'][who]:.1e}" if who in row["error"] else ""), flush=True)
    for who, why in row["failed"].items():
        print(f"{work}: {who} failed: {why}", flush=True)
    return row


def write(results, machine):
    """RESULTS.md from everything measured so far."""
    lines = ["# Beside the peers", "",
             "    make peers", "",
             f"{machine}. Random weights, all cores; the lowest of the rounds, which take turns; a process each,",
             "warmed up once, except where a row counts from the process's start. Read the ratios: single times are noise.",
             "Errors are relative, ‖y - torch's‖ / ‖torch's‖ with torch's of f32."]
    def table(head, works, note):
        works = [w for w in works if w in results]
        if not works: return
        lines.extend(["", f"## {head}", "", note, "",
                      "| work | " + " | ".join(PEERS.values()) + " | Parley | Parley / the fastest | to reach | error: torch, OpenVINO, onnxruntime, candle, Parley | peak memory, Parley / torch | 1 core to 2 | rounds |", "| --- " * (8 + len(PEERS)) + "|"])
        for work in works:
            r = results[work]
            low = {k: min(v) for k, v in r["seconds"].items()}
            best = min((v for k, v in low.items() if not k.startswith("parley")), default=None)
            show = lambda k: f"{low[k]:.3g} s" if k in low else ("failed" if k in r["failed"] else "")
            target = NETS[work][4] if work in NETS else WHOLE[work]
            ours = low.get("parley")
            errors = ", ".join(f"{r['error'][k]:.1e}" if k in r["error"] else "-" for k in ("torch", "openvino", "onnxruntime", "candle", "parley")) if r["error"] else ""
            one = low.get("parley on one core")
            gb = lambda k: f"{r['peak'][k] / 1e9:.2f}" if k in r["peak"] else "?"
            lines.append(f"| {WORDS[plain(work)]} | {' | '.join(map(show, PEERS))} | {show('parley')} | {f'**{ours / best:.2f}**' if ours and best else ''} | {target or ''} | {errors} | {gb('parley')} / {gb('torch')} GB | {f'{one / ours:.2f}' if one and ours else ''} | {max(map(len, r['seconds'].values()), default=0)} |")
    every = list(NETS) + list(WHOLE)
    table("f32", [w for w in every if w == plain(w)], "Peers in f32, `parley --precision f32`, its default: float32 by the fastest method that stays within 1e-4, which the head line names.")
    table("bfloat16", [w for w in every if w != plain(w)], "torch under autocast, OpenVINO with the hint bf16, `parley --precision fast`.")
    with open(f"{HERE}/RESULTS.md", "w") as f:
        f.write("\n".join(lines) + "\n")


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        what, data, out = sys.argv[2:5]
        if what == "make": make(data)
        elif what.startswith("inputs:"): inputs(what.split(":")[1], data)
        elif what.startswith("export:"): export(*what.split(":")[1:], data)
        elif what == "reconstruction": reconstruct(data)
        elif what == "first-output": first(data)
        elif what == "sdcpp": for_sdcpp(data)
        elif what.startswith("sdcpp:"): sdcpp(what.split(":")[1], data, what.split(":")[2])
        else: worker(*what.split(":"), data, out)
        return
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("parley"); a.add_argument("work", nargs="*", help=", ".join(list(NETS) + list(WHOLE)))
    a.add_argument("--rounds", type=int, default=3); a.add_argument("--data", default="out/peers"); a.add_argument("--peers", default=",".join(PEERS))
    a = a.parse_intermixed_args()
    data, parley = os.path.abspath(a.data), os.path.abspath(a.parley)
    os.makedirs(data, exist_ok=True)
    if unknown := [w for w in a.work if w not in NETS and w not in WHOLE]:
        sys.exit(f"no work {unknown}: choose from {list(NETS) + list(WHOLE)}")
    doctor = json.loads(spawn([parley, "doctor", "--json"])[0])
    machine = f"{doctor['cpu']}, {doctor['cores']} threads, {', '.join(doctor['features'])}; multiply-adds of f32 measured at {doctor['gflops']:.0f} GFLOP/s; products " + ", ".join(f"{m['precision']}: {m['format']} ({m['speed']:.1f}x)" for m in doctor["methods"])
    kept = f"{data}/results.json"
    results = json.load(open(kept)) if os.path.exists(kept) else {}
    for work in a.work or list(NETS) + list(WHOLE):
        results[work] = compare(work, a.peers.split(","), a.rounds, data, parley)
        json.dump(results, open(kept, "w"), indent=1)
        write(results, machine)


main()
