"""Writes goldens.json.gz: ids that transformers' generate gives on the models of nets/testdata and on the miniature BLIP.

Python 3.11, torch 2.9.0, transformers 5.23.0, on unpacked models (`go run ./weights/packed/pack -d` of their .safetensors.zst): python goldens.py
"""
import gzip, itertools, json, os
import torch
from safetensors.torch import load_file
from transformers import BlipForConditionalGeneration
from transformers.generation.logits_process import MinLengthLogitsProcessor, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

HERE = os.path.dirname(os.path.abspath(__file__))
NETS = os.path.join(HERE, "../../testdata")
MINI = os.path.join(HERE, "../../../weights/mini/models/blip")
torch.set_num_threads(1)


def pictures(model, n, seed):
    """A sum of waves that both sides compute: [n, 3, size, size]."""
    size = model.config.vision_config.image_size
    i = torch.arange(n * 3 * size * size, dtype=torch.float64)
    return torch.sin(i * (0.01 + 0.003 * seed) + seed).float().reshape(n, size, size, 3).permute(0, 3, 1, 2)


def run(name, m, seed, high, low=0, beams=1, length=1.0, early=False, repeat=1.0, keep=1):
    t = m.config.text_config
    ids = torch.tensor([[t.bos_token_id, 5, 7]] * 2)
    high = min(high, t.max_position_embeddings)
    how = dict(num_beams=beams, length_penalty=length, early_stopping=early, num_return_sequences=keep) if beams > 1 else {}
    with torch.no_grad():
        v = m.vision_model(pixel_values=pictures(m, 2, seed)).last_hidden_state
        y = m.text_decoder.generate(input_ids=ids, encoder_hidden_states=v, max_length=high, min_length=low, repetition_penalty=repeat, do_sample=False,
                                    eos_token_id=t.sep_token_id, pad_token_id=t.pad_token_id, bos_token_id=t.bos_token_id, return_dict_in_generate=True, output_scores=True, **how)
    out.append({"model": name, "seed": seed, "beams": beams, "length_penalty": length, "early": early, "repetition_penalty": repeat, "min": low, "max": high, "keep": keep,
                "prompt": ids.tolist(), "sequences": y.sequences.tolist(), "scores": y.sequences_scores.tolist() if beams > 1 else None})
    return y.sequences


out = []
for name, path in [("blip_narrow", None), ("blip_untied", None), ("blip_wide", None), ("mini", MINI)]:
    m = BlipForConditionalGeneration.from_pretrained(path or os.path.join(NETS, name), dtype=torch.float32).eval()
    grid = itertools.product((1, 2, 3, 5), (0, 7), (1.0, 1.1, 1.7), (1.0, 0.0, -0.6, 2.0), (False, True), (6, 9, 12))
    for seed, (beams, low, repeat, length, early, high) in enumerate(grid):
        if beams == 1 and (length != 1 or early): continue
        if seed % 3 and name != "mini" or low > high: continue
        run(name, m, seed, high, low, beams, length, early, repeat)

# As long as captions are by default: texts that end by themselves, others that
# reach the longest length, and the shortest length where a text would end, one
# token behind it, and with all beams returned.
eos = m.config.text_config.sep_token_id
for seed, (beams, repeat, (length, early)) in enumerate(itertools.product((1, 3, 5), (1.0, 1.1), ((1.0, False), (1.0, True), (2.0, False), (-0.6, True), (0.0, False)))):
    if beams == 1 and (length != 1 or early): continue
    more = {"beams": beams, "length": length, "early": early, "repeat": repeat}
    row = run("mini", m, seed, 20, 5, **more)[0].tolist()
    if eos in row:
        run("mini", m, seed, 20, row.index(eos), **more)
        run("mini", m, seed, 20, row.index(eos) + 1, **more)
    if beams > 1:
        run("mini", m, seed, 20, 5, keep=beams, **more)
ends = [len(s) for o in out if o["max"] == 20 for s in [[x for x in s if x != 0] for s in o["sequences"]]]
print(len(ends), "texts as long as by default,", sum(1 for o in out if o["max"] == 20 for s in o["sequences"] if eos in s), "of them ended")

warp = []  # which words the warpers leave, and with what probability
g = torch.Generator().manual_seed(0)
for p, k, temp, repeat, low in itertools.product((1.0, 0.9, 0.5, 0.05), (0, 3, 12), (1.0, 0.7, 1.6), (1.0, 1.3), (0, 9)):
    scores, ids = torch.randn(1, 24, generator=g) * 2, torch.randint(0, 24, (1, 5), generator=g)
    s = scores
    if repeat != 1: s = RepetitionPenaltyLogitsProcessor(repeat)(ids, s)
    if low: s = MinLengthLogitsProcessor(low, 3)(ids, s)
    if temp != 1: s = TemperatureLogitsWarper(temp)(ids, s)
    if k: s = TopKLogitsWarper(k)(ids, s)
    if p < 1: s = TopPLogitsWarper(p)(ids, s)
    warp.append({"top_p": p, "top_k": k, "temperature": temp, "repetition_penalty": repeat, "min": low, "ids": ids[0].tolist(), "scores": scores[0].tolist(), "probabilities": s.softmax(-1)[0].tolist()})
with gzip.GzipFile(os.path.join(HERE, "goldens.json.gz"), "wb", mtime=0) as f:
    f.write(json.dumps({"generate": out, "warp": warp}).encode())
print(len(out), "runs", len({str(o["sequences"]) for o in out}), "different", len(warp), "distributions")
