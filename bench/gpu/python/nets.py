"""diffusers' UNet and VAE and transformers' CLIP and BLIP with random weights in f16: eager, in CUDA graphs, and, where
COMPILE says so, by torch.compile. The sizes are those of bench/random."""


def run(small, compiled):
    torch, device, timer = begin(small)
    f16 = torch.float16 if timer.cuda else torch.float32

    def rand(*dims):
        return torch.randn(*dims, device=device, dtype=f16)

    def made(build):
        with torch.device(device):
            net = build()
        return net.to(device=device, dtype=f16).eval()

    def rate(name, call, n, unit, scale=1):
        """The ways to call a net."""
        if late():
            raise Late
        if compiled:
            f = torch.compile(call, mode="max-autotune-no-cudagraphs" if timer.cuda else "default")
            start = time.monotonic()
            f()
            timer.sync()
            figure(f"{name}, compiling", time.monotonic() - start, "s")
            ways = [("torch.compile, graph", lambda: timer.graph(lambda i: f(), reps=1))]
        else:
            ways = [("eager", lambda: timer.eager(call)), ("graph", lambda: timer.graph(lambda i: call(), reps=1))]
        for way, measure in ways:
            def one():
                t, least, most = measure()
                figure(f"{name}, {way}", 1e3 * t, "ms", (1e3 * least, 1e3 * most))
                figure(f"{name}, {way}, rate", scale * n / t, unit, (scale * n / most, scale * n / least))
            attempt(f"{name}, {way}", one)

    def unet():
        from diffusers import UNet2DConditionModel
        widths = (32, 64) if small else (320, 640, 1280, 1280)
        n = len(widths)
        net = made(lambda: UNet2DConditionModel(
            sample_size=8 if small else 64, in_channels=4, out_channels=4, layers_per_block=1 if small else 2, block_out_channels=widths,
            norm_num_groups=8 if small else 32, cross_attention_dim=32 if small else 768, attention_head_dim=2 if small else 8,
            down_block_types=("CrossAttnDownBlock2D",) * (n - 1) + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (n - 1)))
        net = net.to(memory_format=torch.channels_last)
        side, width = (8, 32) if small else (64, 768)
        for pictures in (1,) if small or compiled else (1, 4, 10):
            x = rand(2 * pictures, 4, side, side).to(memory_format=torch.channels_last)
            text, step = rand(2 * pictures, 77, width), torch.tensor([801], device=device)
            rate(f"diffusers UNet, batch {pictures}, guided step", lambda: net(x, step, text, return_dict=False)[0], 1, "steps/s")

    def vae():
        from diffusers import AutoencoderKL
        widths = (32, 32) if small else (128, 256, 512, 512)
        net = made(lambda: AutoencoderKL(block_out_channels=widths, layers_per_block=1 if small else 2, norm_num_groups=8 if small else 32,
                                         latent_channels=4, down_block_types=("DownEncoderBlock2D",) * len(widths), up_block_types=("UpDecoderBlock2D",) * len(widths)))
        net = net.to(memory_format=torch.channels_last)
        z = rand(1, 4, 8 if small else 64, 8 if small else 64).to(memory_format=torch.channels_last)
        rate("diffusers VAE, decoding of a picture", lambda: net.decode(z, return_dict=False)[0], 1, "pictures/s")

    def clip():
        from transformers import CLIPConfig, CLIPModel
        c = CLIPConfig() if not small else CLIPConfig(
            text_config=dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=100, eos_token_id=99, bos_token_id=98),
            vision_config=dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96, image_size=32, patch_size=8), projection_dim=24)
        net = made(lambda: CLIPModel(c))
        side, vocab = c.vision_config.image_size, c.text_config.vocab_size
        for n in (2,) if small else (64,) if compiled else (1, 16, 64, 256):
            x = rand(n, 3, side, side)
            rate(f"transformers CLIP, images, batch {n}", lambda: net.get_image_features(pixel_values=x), n, "images/s")
            ids = torch.randint(0, vocab - 3, (n, 77), device=device)
            ids[:, -1] = vocab - 1
            rate(f"transformers CLIP, texts, batch {n}", lambda: net.get_text_features(input_ids=ids), n, "texts/s")

    def blip():
        from transformers import BlipConfig, BlipForConditionalGeneration
        c = BlipConfig() if not small else BlipConfig(
            text_config=dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=120, encoder_hidden_size=32,
                             bos_token_id=1, sep_token_id=2, eos_token_id=2, pad_token_id=0, max_position_embeddings=32),
            vision_config=dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8))
        if not small:
            c.text_config.update(dict(encoder_hidden_size=768, num_attention_heads=12, max_position_embeddings=512, vocab_size=30524))
        net = made(lambda: BlipForConditionalGeneration(c))
        side = c.vision_config.image_size
        for n in (1,) if small or compiled else (1, 16):
            x = rand(n, 3, side, side)
            rate(f"transformers BLIP, vision, batch {n}", lambda: net.vision_model(pixel_values=x)[0], n, "pictures/s")
        if compiled:
            return
        x, prompt = rand(1, 3, side, side), torch.tensor([[c.text_config.bos_token_id, 5, 6, 7]], device=device)
        for k in (1, 10):
            def generate():
                return net.generate(pixel_values=x, input_ids=prompt, do_sample=True, top_p=0.9, repetition_penalty=1.1, min_length=20, max_length=20, num_return_sequences=k)

            def one():
                if late():
                    raise Late
                t, least, most = timer.eager(generate, n=3)
                figure(f"transformers BLIP, {k} captions of a picture, eager", 1e3 * t, "ms", (1e3 * least, 1e3 * most))
            attempt(f"{k} captions", one)

    for name, net in (("unet", unet), ("vae", vae), ("clip", clip), ("blip", blip)):
        if late():
            say(note=f"{name} was left for want of time")
            continue
        attempt(name, net)
        if timer.cuda:
            torch.cuda.empty_cache()


run(SMALL, COMPILE)
