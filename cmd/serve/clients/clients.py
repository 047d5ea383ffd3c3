"""Real clients against a real server: the openai and webuiapi packages, and the calls that open-webui, SillyTavern and Immich make.

    python clients.py PARLEY [COMMAND...]     starts `PARLEY serve` with the miniature models, and stops it

Each command is a client of another language, which is run with the server's address and the key.
"""
import base64, io, json, shlex, subprocess, sys, threading, time
import openai, openapi_spec_validator, requests, webuiapi
from PIL import Image, ImageChops

KEY = "a key"
server = subprocess.Popen([sys.argv[1], "serve", "--listen", "127.0.0.1:0", "--max-steps", "1000"], stdout=subprocess.PIPE, text=True,
                          env={"PARLEY_API_KEY": KEY, "HOME": "/nonexistent"})
try:
    url = server.stdout.readline().strip()
    host, port = url.removeprefix("http://").split(":")

    # openai
    client = openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)
    assert [m.id for m in client.models.list()] == ["mini-sd", "mini-blip", "mini-clip"]
    more = {"seed": 7, "steps": 3}
    r = client.images.generate(prompt="a cat on the grass", model="mini-sd", n=2, size="64x64", response_format="b64_json", extra_body=more)
    pictures = [Image.open(io.BytesIO(base64.b64decode(d.b64_json))) for d in r.data]
    assert [p.size for p in pictures] == [(64, 64)] * 2 and pictures[0].tobytes() != pictures[1].tobytes()
    assert "Seed: 7" in pictures[0].info["parameters"]
    r = client.images.generate(prompt="a cat on the grass", response_format="url", extra_body=more)
    by_url = Image.open(io.BytesIO(requests.get(r.data[0].url, headers={"Authorization": "Bearer " + KEY}).content))
    assert by_url.tobytes() == pictures[0].tobytes()
    kinds = []
    for event in client.images.generate(prompt="a cat on the grass", stream=True, partial_images=2, extra_body={"seed": 7, "steps": 6}):
        kinds.append(event.type)
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"], kinds
    png = io.BytesIO()
    pictures[0].save(png, "PNG")
    for edit in (lambda: client.images.edit(image=("x.png", png.getvalue()), prompt="a dog", extra_body=more),
                 lambda: client.images.create_variation(image=("x.png", png.getvalue()), n=1, response_format="b64_json", extra_body={"steps": 3})):
        assert Image.open(io.BytesIO(base64.b64decode(edit().data[0].b64_json))).size == (64, 64)
    r = client.images.with_raw_response.generate(prompt="a cat on the grass", response_format="b64_json", extra_body=more, extra_headers={"Prefer": "respond-async"})
    while (job := requests.get(url + r.headers["location"], headers={"Authorization": "Bearer " + KEY}).json())["state"] == "running":
        time.sleep(0.05)
    assert r.status_code == 202 and Image.open(io.BytesIO(base64.b64decode(job["result"]["data"][0]["b64_json"]))).tobytes() == pictures[0].tobytes()
    e = client.embeddings.create(model="mini-clip", input=["a cat", "two red apples"])
    f = client.embeddings.create(model="mini-clip", input=["a cat"], encoding_format="float")
    assert len(e.data) == 2 and max(abs(a - b) for a, b in zip(e.data[0].embedding, f.data[0].embedding)) < 1e-6
    for wrong, kind in ((dict(prompt="a", n=99), openai.BadRequestError), (dict(prompt="a", model="dall-e-3"), openai.NotFoundError)):
        try:
            client.images.generate(**wrong)
            raise SystemExit(f"{wrong} was taken")
        except kind:
            pass
    try:
        openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0).models.list()
        raise SystemExit("a wrong key was taken")
    except openai.AuthenticationError:
        pass

    # webuiapi
    api = webuiapi.WebUIApi(host=host, port=int(port), username="me", password=KEY)
    one = api.txt2img(prompt="a cat on the grass", negative_prompt="a dog", seed=7, steps=3, cfg_scale=4, width=64, height=64, sampler_name="Euler")
    assert one.image.size == (64, 64) and one.info["seed"] == 7 and len(one.images) == 1
    two = api.img2img(images=[one.image], prompt="a dog", seed=7, steps=3, cfg_scale=4, width=64, height=64, denoising_strength=0.5, sampler_name="Euler")
    assert two.image.size == (64, 64)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (8, 8, 24, 24))
    part = api.img2img(images=[one.image], mask_image=mask, prompt="a dog", seed=7, steps=5, cfg_scale=4, width=64, height=64, denoising_strength=0.8)  # its defaults
    changed = ImageChops.difference(part.image.convert("RGB"), one.image.convert("RGB")).getbbox()
    assert part.image.size == (64, 64) and changed and changed[2] <= 36 and changed[3] <= 36, changed
    assert api.interrogate(one.image).info
    assert api.get_sd_models()[0]["title"] == "mini-sd" and len(api.get_samplers()) > 5
    api.set_options({"sd_model_checkpoint": "mini-sd"})

    # What SillyTavern and open-webui ask for, in their order.
    s = requests.Session()
    s.auth = ("me", KEY)
    for path in "options samplers schedulers upscalers latent-upscale-modes sd-vae sd-models progress".split():
        r = s.get(f"{url}/sdapi/v1/{path}")
        assert r.ok, (path, r.text)
    options = s.get(url + "/sdapi/v1/options").json()
    assert options["sd_model_checkpoint"] == "mini-sd" and s.post(url + "/sdapi/v1/options", json=options).ok
    body = {"prompt": "a cat", "negative_prompt": "", "sampler_name": "Euler a", "scheduler": "Automatic", "steps": 1000, "cfg_scale": 4, "width": 64, "height": 64,
            "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 2, "denoising_strength": 0.7, "hr_second_pass_steps": 0,
            "seed": -1, "override_settings": {"CLIP_stop_at_last_layers": 1}, "override_settings_restore_afterwards": True, "clip_skip": 1, "save_images": True,
            "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False}
    answer = []
    t = threading.Thread(target=lambda: answer.append(s.post(url + "/sdapi/v1/txt2img", json=body)))
    t.start()
    while True:  # until it runs
        p = s.get(url + "/sdapi/v1/progress").json()
        if p["progress"] > 0:
            break
        time.sleep(0.05)
    assert s.post(url + "/sdapi/v1/interrupt").ok
    t.join()
    assert answer[0].status_code == 409, answer[0].text
    p = s.get(url + "/sdapi/v1/progress").json()
    assert p["progress"] == 0 and p["state"]["job_count"] == 0

    # Immich
    assert requests.get(url + "/ping").text == "pong"
    r = s.post(url + "/predict", data={"entries": json.dumps({"clip": {"visual": {"modelName": "mini-clip"}}})}, files={"image": png.getvalue()})
    assert len(json.loads(r.json()["clip"])) == 128 and r.json()["imageHeight"] == 64
    openapi_spec_validator.validate(s.get(url + "/openapi.json").json())
    for command in sys.argv[2:]:
        subprocess.run(shlex.split(command) + [url, KEY], check=True)
    print("all clients are served")
finally:
    server.terminate()
    code = server.wait(60)
assert code == 0, code
