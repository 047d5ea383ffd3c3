"""The two tokenizers with the real vocabularies, as transformers opens them. Python 3.11, transformers 5.23.0, tokenizers 0.23.3."""
import gzip, json, os, tempfile
from transformers import BertTokenizer, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "../data")


def clip_folder(d):
    merges = gzip.open(os.path.join(DATA, "clip-merges.txt.gz"), "rt", encoding="utf-8").read().split("\n")
    merges = [m for m in merges if len(m.split()) == 2 and not m.startswith("#version")][: 49152 - 256 - 2]
    bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    cs, n = bs[:], 0
    for b in range(256):
        if b not in bs: bs.append(b); cs.append(256 + n); n += 1
    vocab = [chr(c) for c in cs]
    vocab += [v + "</w>" for v in vocab] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    json.dump({v: i for i, v in enumerate(vocab)}, open(f"{d}/vocab.json", "w"))
    open(f"{d}/merges.txt", "w", encoding="utf-8").write("#version: 0.2\n" + "\n".join(merges) + "\n")
    assert len(vocab) == 49408, len(vocab)


def clip():
    with tempfile.TemporaryDirectory() as d:
        clip_folder(d)
        return CLIPTokenizer.from_pretrained(d)


def bert():
    with tempfile.TemporaryDirectory() as d:
        open(f"{d}/vocab.txt", "wb").write(gzip.open(os.path.join(DATA, "bert-vocab.txt.gz")).read())
        t = BertTokenizer.from_pretrained(d)
        t.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})  # as Salesforce's BLIP does
        return t
