"""Makes the goldens of bench/score by the reference implementation of the COCO
caption metrics: pycocoevalcap 1.2 with its jars, under Java 17.

    python3 -m venv venv && venv/bin/pip install --no-deps -r requirements.txt
    venv/bin/python reference.py COCO_KARPATHY_TEST_GT.json

Writes, beside itself,
  karpathy.tsv.gz   the captions: an image a line, its captions by tabs
  karpathy.json     the metrics of each image's first caption against its others,
                    and the SHA-256 of the tokens
  karpathy.bin.gz   the same by image: float64, little-endian, [7, 5000]
  tokens.json       lines made to break a tokenizer, and their tokens
  stems.tsv.gz      the words of all captions and more, and their stems
  meteor/           what METEOR makes of a small language of our own, whose
                    synonyms and paraphrases are dense: data and scores
"""
import gzip
import hashlib
import json
import os
import random
import struct
import subprocess
import sys

import pycocoevalcap.meteor.meteor
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(pycocoevalcap.meteor.meteor.__file__)))
METEOR = os.path.join(PACKAGE, "meteor", "meteor-1.5.jar")


def write(name, data):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if name.endswith(".gz"):
        data = gzip.compress(data, 9, mtime=0)
    with open(path, "wb") as f:
        f.write(data)


def tokenize(lists):
    return PTBTokenizer().tokenize({k: [{"caption": c} for c in v] for k, v in lists.items()})


def karpathy(path):
    with open(path) as f:
        coco = json.load(f)
    captions = {m["id"]: [] for m in coco["images"]}
    for a in coco["annotations"]:
        captions[a["image_id"]].append(a["caption"])
    assert all(len(v) > 1 and not any(c in t for t in v for c in "\t\r") for v in captions.values())
    captions = {k: [c.replace("\n", " ") for c in v] for k, v in captions.items()}
    write("karpathy.tsv.gz", "".join("\t".join(v) + "\n" for v in captions.values()).encode())
    gts = tokenize({k: v[1:] for k, v in captions.items()})
    res = tokenize({k: v[:1] for k, v in captions.items()})
    digest = hashlib.sha256("".join(c + "\n" for d in (gts, res) for v in d.values() for c in v).encode())
    corpus, rows = {}, []
    for names, scorer in ((["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4"], Bleu(4)), (["ROUGE_L"], Rouge()), (["CIDEr"], Cider()), (["METEOR"], Meteor())):
        score, scores = scorer.compute_score(gts, res)
        if len(names) == 1:
            score, scores = [score], [scores]
        for n, s, each in zip(names, score, scores):
            corpus[n] = float(s)
            rows.append([float(x) for x in each])
    corpus["tokens_sha256"] = digest.hexdigest()
    write("karpathy.json", (json.dumps(corpus, indent=1) + "\n").encode())
    write("karpathy.bin.gz", b"".join(struct.pack("<%dd" % len(r), *r) for r in rows))
    return captions


def main():
    captions = karpathy(sys.argv[1])


if __name__ == "__main__":
    main()
