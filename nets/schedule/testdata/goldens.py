"""Writes goldens.json.gz: what diffusers' schedulers do with a model that both sides compute.

Python 3.11, torch 2.15.0 (unipc: 2.9.0), diffusers 0.42.1, numpy: python goldens.py
"""
import gzip, json, math, os
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, LCMScheduler, PNDMScheduler, UniPCMultistepScheduler

CLASS = {"pndm": PNDMScheduler, "ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "euler-a": EulerAncestralDiscreteScheduler,
         "dpmpp2m": DPMSolverMultistepScheduler, "dpmpp2m-karras": DPMSolverMultistepScheduler, "lcm": LCMScheduler,
         "unipc": UniPCMultistepScheduler}
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
N = 20


def model(x, t):
    """Some smooth function of latents and timestep."""
    i = torch.arange(N, dtype=torch.float64)
    return (0.4 * x.double() * math.cos(t / 300) + 0.6 * torch.sin(i + t / 100)).float()


def run(kind, config, steps, strength, seed):
    extra = {"skip_prk_steps": True} if kind == "pndm" else {"use_karras_sigmas": kind.endswith("karras")} if kind.startswith("dpm") else {}
    s = CLASS[kind].from_config({**config, **extra})
    s.set_timesteps(steps)
    g = torch.Generator().manual_seed(seed)
    ts, x = s.timesteps, torch.randn(N, generator=g)
    if kind == "unipc": x = x[None]  # it wants channels
    if strength:
        begin = max(steps - min(int(steps * strength), steps), 0)
        ts = ts[begin:]
        if hasattr(s, "set_begin_index"): s.set_begin_index(begin)
        x = s.add_noise(torch.cos(torch.arange(N).double()).float()[None], x.view(1, N), ts[:1]).view_as(x)
    else:
        x = x * s.init_noise_sigma
    for t in ts:
        e = model(s.scale_model_input(x, t), float(t))
        kw = {"generator": g} if kind in ("euler-a", "lcm") else {}
        x = s.step(e, t, x, **kw).prev_sample
    return {"kind": kind, "config": {**config, **extra, "_class_name": CLASS[kind].__name__}, "steps": steps, "strength": strength or 0, "seed": seed,
            "timesteps": [float(t) for t in ts], "latents": [float(v) for v in x.flatten()]}


out = []
OLD = [kind for kind in CLASS if kind != "unipc"]  # what is new is at the end, so that the seeds of what is old stay
for kind in OLD:
    for prediction in ("epsilon", "v_prediction", "sample"):
        if prediction == "sample" and kind in ("pndm", "euler-a"): continue
        for spacing in ("leading", "linspace", "trailing"):
            if kind == "lcm" and spacing != "leading": continue
            for steps in (1, 2, 3, 5, 7, 10, 20, 50):
                if kind.endswith("karras") and steps == 1: continue  # its one sigma is the smallest: pure noise either way
                out.append((kind, {**SD, "prediction_type": prediction, "timestep_spacing": spacing}, steps, None))
            for strength in (0.3, 0.75, 1.0):
                out.append((kind, {**SD, "prediction_type": prediction, "timestep_spacing": spacing}, 12, strength))
for kind in OLD:  # other configurations
    for more in ({"clip_sample": False, "set_alpha_to_one": False}, {"clip_sample": True, "clip_sample_range": 0.8}, {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "clip_sample": False},
                 {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "steps_offset": 0}, {"beta_schedule": "squaredcos_cap_v2"}, {"num_train_timesteps": 500},
                 {"solver_type": "heun"}, {"solver_order": 1}, {"lower_order_final": False, "final_sigmas_type": "sigma_min"}, {"euler_at_final": True}, {"timestep_scaling": 3.0, "original_inference_steps": 25},
                 {"lambda_min_clipped": -5.1}, {"timestep_type": "continuous", "prediction_type": "v_prediction"}, {"use_karras_sigmas": True}):
        if kind.startswith("dpm") and "use_karras_sigmas" in more: continue
        for steps in (4, 17):
            out.append((kind, {**SD, **more}, steps, None))
for steps in (13, 14, 15, 16):  # up to 14 the last step is of a lower order, unless it ends at no noise
    for strength in (None, 0.8):
        for more in ({}, {"lower_order_final": False}, {"solver_type": "heun"}):
            out.append(("dpmpp2m", {**SD, "final_sigmas_type": "sigma_min", **more}, steps, strength))
for prediction in ("epsilon", "v_prediction", "sample"):
    for spacing, steps in (("leading", 1), ("leading", 10), ("linspace", 2), ("linspace", 20), ("trailing", 5)):
        out.append(("unipc", {**SD, "prediction_type": prediction, "timestep_spacing": spacing}, steps, None))
KARRAS, NOISE, LAST = {"use_karras_sigmas": True}, {"predict_x0": False}, {"final_sigmas_type": "sigma_min"}
for more in ({}, {"solver_order": 1}, {"solver_order": 3}, {"solver_type": "bh1", **LAST}, {**NOISE, **LAST},
             {**NOISE, **LAST, "solver_order": 3, "solver_type": "bh1", "lower_order_final": False, "prediction_type": "sample"},
             {**NOISE, **LAST, "prediction_type": "v_prediction"}, {"disable_corrector": [0, 1, 3]}, {"disable_corrector": [2], "solver_order": 3},
             {**KARRAS, **LAST, "solver_order": 3}, {**KARRAS, "beta_schedule": "squaredcos_cap_v2"}, {**KARRAS, "sigma_min": 0.05, "sigma_max": 10.0},
             {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}):
    for steps, strength in ((4, None), (17, None), (12, 0.7)):
        out.append(("unipc", {**SD, **more}, steps, strength))
goldens = []
for seed, (kind, config, steps, strength) in enumerate(out):
    try:
        g = run(kind, config, steps, strength, seed)
        if not all(map(math.isfinite, g["latents"])): raise ValueError("diffusers gives NaN")
        goldens.append(g)
    except Exception as e: print("left out:", kind, config, steps, strength, type(e).__name__, str(e)[:100])
here = os.path.dirname(os.path.abspath(__file__))
with gzip.GzipFile(os.path.join(here, "goldens.json.gz"), "wb", mtime=0) as f:
    f.write(json.dumps(goldens).encode())
print(len(goldens), "runs")
