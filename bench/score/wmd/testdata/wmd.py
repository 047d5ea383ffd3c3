"""Makes vectors.txt, random vectors in word2vec's text format, and pairs.json, lists
of their words with the word mover's distance that POT's network simplex finds, of
the vectors and of unit ones (as gensim's KeyedVectors.wmdistance asks POT).

Run in this folder:  python wmd.py        (POT==0.9.7.post1 numpy==2.4.6 scipy==1.17.1)
"""
import json
import numpy as np
import ot

rng = np.random.default_rng(7)
words = [f"w{i}" for i in range(60)]
x = rng.standard_normal((60, 12)).round(4)
with open("vectors.txt", "w") as f:
    f.write("60 12\n" + "".join(w + " " + " ".join(f"{v:g}" for v in row) + "\n" for w, row in zip(words, x)))


def distance(a, b, vectors):
    sides = []
    for side in (a, b):
        side = [w for w in side if w in words]
        kinds = sorted(set(side))
        sides.append((np.array([vectors[words.index(w)] for w in kinds]), np.array([side.count(w) for w in kinds]) / len(side)))
    (p, wp), (q, wq) = sides
    return float(ot.emd2(wp, wq, np.sqrt(((p[:, None] - q[None]) ** 2).sum(-1)), numItermax=10**6))


pairs = []
for n, m in [(1, 1), (1, 9), (3, 3), (5, 8), (12, 7), (20, 20), (40, 3), (60, 55), (200, 150)] * 4:
    a, b = ([str(w) for w in rng.choice(words + ["unknown"], k)] for k in (n, m))
    a[0], b[-1] = "w1", "w2"
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs.append({"a": " ".join(a), "b": " ".join(b), "distance": distance(a, b, x), "unit": distance(a, b, unit)})
with open("pairs.json", "w") as f:
    json.dump(pairs, f, indent=0)
    f.write("\n")
