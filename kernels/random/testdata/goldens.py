"""Prints goldens.json: torch.randn of a seeded generator, drawn in pieces. Python 3.11, torch 2.9.0: python goldens.py > goldens.json"""
import json, torch
out = []
for seed, sizes in ((0, [1]), (1, [3, 4, 15]), (2, [16]), (3, [17, 5, 1, 31, 2]), (1234567890123, [100, 7, 7]), (2**32 + 5, [33]), (42, [700, 1, 16])):
    g = torch.Generator().manual_seed(seed)
    out.append({"seed": seed, "draws": [[float(v) for v in torch.randn(n, generator=g)] for n in sizes]})
print(json.dumps(out))
