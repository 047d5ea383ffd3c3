"""Writes added.json: small tokenizers with added tokens of all kinds, as the files of a folder, and transformers' ids of some texts.

Python 3.11, transformers 5.23.0, tokenizers 0.23.3: python added.py
"""
import json, os, tempfile
from transformers import BertTokenizer, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
letters = [chr(c) for c in range(33, 127)]
vocab = {w: i for i, w in enumerate(letters + [c + "</w>" for c in letters] + ["ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"])}
clip = {"vocab.json": json.dumps(vocab), "merges.txt": "#version: 0.2\nc a\nca t</w>\n"}
bert = {"vocab.txt": "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "##s", "the", "foo", "bar", "<", ">", ".", ",", "a", "b", "x", "y", "##a", "##b", "foobar"]) + "\n"}
tok = lambda text, **on: {"content": text, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": False, **on}
KINDS = [tok("<Raw>"), tok("Norm", normalized=True), tok("zed", lstrip=True, rstrip=True), tok("One", single_word=True), tok("two  Words", normalized=True), tok("oné", normalized=True, single_word=True),
         tok("<s>", special=True, lstrip=True), tok("ab"), tok("abab"), tok(" "), tok("e\u0301x", normalized=True), tok("r", rstrip=True)]
TEXTS = ["", "a cat", "a<Raw>b <raw>", "norm NORM xnormy", "a  zed  zed b", "zedzed", "One xOne Onex -One- One", "One\u0301 One\u200d _One One1", "two words two \n words", "on\u00e9 on\u00e9s ONE\u0301", "a <s> b<s>", "ababab ab abab", "\u00e9x e\u0301x EX",
         "r  x", "car r r  ", "<|endoftext|> cat<|startoftext|>", "foobar foo bar", "[SEP] x [MASK]", " ", "   ", "cat   dog", "b\u3000zed\u2003a"]
n = len(vocab)
cases = [
    ("clip", {**clip, "tokenizer_config.json": json.dumps({"tokenizer_class": "CLIPTokenizer", "added_tokens_decoder": {str(n + i): t for i, t in enumerate(KINDS)}})}),
    ("clip", {**clip, "tokenizer_config.json": json.dumps({"tokenizer_class": "CLIPTokenizer", "added_tokens_decoder": {str(n + i): t for i, t in enumerate(KINDS[:9] + KINDS[10:])}})}),
    ("clip", {**clip, "added_tokens.json": json.dumps({"<Raw>": n, "Norm": n + 1, "abab": n + 2, "two  Words": n + 3})}),
    ("clip", {**clip, "added_tokens.json": json.dumps({"zed": n + 1, "<Raw>": n}), "special_tokens_map.json": json.dumps({"pad_token": "<Raw>"})}),
    ("bert", {**bert, "tokenizer_config.json": json.dumps({"tokenizer_class": "BertTokenizer", "added_tokens_decoder": {str(22 + i): t for i, t in enumerate(KINDS[:9] + KINDS[10:])}})}),
    ("bert", {**bert, "added_tokens.json": json.dumps({"<Raw>": 22, "Norm": 23, "foo bar": 24})}),
]
out = []
for kind, files in cases:
    with tempfile.TemporaryDirectory() as d:
        for name, text in files.items():
            open(os.path.join(d, name), "w", encoding="utf-8").write(text)
        t = (CLIPTokenizer if kind == "clip" else BertTokenizer).from_pretrained(d)
        out.append({"kind": kind, "files": files, "texts": TEXTS, "ids": [t(x).input_ids for x in TEXTS]})
json.dump(out, open(os.path.join(HERE, "added.json"), "w"), indent=0)
