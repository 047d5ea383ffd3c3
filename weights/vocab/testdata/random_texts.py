"""Writes random_texts.json: digests of the ids of 100,000 random texts, a thousand at a time, of transformers' CLIPTokenizer and BertTokenizer.

The texts are made again by TestRandomTexts, by the same arithmetic. To see which text of a block differs:
python random_texts.py 17 prints block 17, a JSON line per text: [text, clip's ids, bert's ids].

Python 3.11, transformers 5.23.0, tokenizers 0.23.3: python random_texts.py
"""
import json, os, sys, tempfile
import tokenizers_of_transformers

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCKS, SIZE = 100, 1000
POOLS = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x52F), (0x530, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x8FF),
         (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000, 0x11FF), (0x1200, 0x167F), (0x1680, 0x18AF), (0x18B0, 0x1DFF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF),
         (0x2C00, 0x2FFF), (0x3000, 0x30FF), (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FB), (0xE000, 0xF8FF),
         (0xF900, 0xFFFF), (0x10000, 0x10FFF), (0x11000, 0x11FFF), (0x12000, 0x16FFF), (0x17000, 0x1BFFF), (0x1C000, 0x1EFFF), (0x1F000, 0x1FFFF),
         (0x20000, 0x2FFFF), (0x30000, 0x3FFFF), (0xE0000, 0xE01FF), (0xF0000, 0x10FFFF)]
PARTS = ["the ", "cat", " 's", "'LL", "don't", "  ", "\n", "\t", "\r\n", "\u200d", "\ufe0f", "<|endoftext|>", "<|startoftext|>", "[SEP]", "[MASK]", "<|", "|>", "</w>",
         "##", "\u0301", "\u0323\u0307", "e\u0301", "\u1100\u1161\u11a8", "İ", "ß", "ΣΑΣ", "\ufffd", "\u0000", "1/2", "😀", "👍🏽", "🇩🇪", "\u3000", "…", "'s's", "n'T", "٣", "५"]
MASK = (1 << 64) - 1


class Rand:
    """SplitMix64."""
    def __init__(self, seed): self.s = seed
    def next(self, n):
        self.s = (self.s + 0x9E3779B97F4A7C15) & MASK
        z = self.s
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def text(i):
    r = Rand(i)
    kind, n, pool, out = r.next(4), 1 + r.next(24), POOLS[r.next(len(POOLS))], []
    for _ in range(n):
        if kind == 1 or kind == 2 and r.next(2):
            pool = POOLS[r.next(len(POOLS))]
        elif kind == 2:
            out.append(PARTS[r.next(len(PARTS))])
            continue
        elif kind == 3:
            pool = (0, 0x10FFFF)
        c = pool[0] + r.next(pool[1] - pool[0] + 1)
        if not 0xD800 <= c <= 0xDFFF:
            out.append(chr(c))
    return "".join(out)


def digest(h, ids):
    """FNV-1a of 64 bits, id by id and a mark at the end."""
    for x in ids + [MASK]:
        h = ((h ^ x) * 0x100000001B3) & MASK
    return h


if __name__ == "__main__":
    clip, bert = tokenizers_of_transformers.clip(), tokenizers_of_transformers.bert()
    if len(sys.argv) > 1:
        for i in range(int(sys.argv[1]) * SIZE, (int(sys.argv[1]) + 1) * SIZE):
            print(json.dumps([text(i), clip(text(i)).input_ids, bert(text(i)).input_ids]))
        sys.exit()
    out = {"clip": [], "bert": []}
    for b in range(BLOCKS):
        texts = [text(i) for i in range(b * SIZE, (b + 1) * SIZE)]
        for name, t in (("clip", clip), ("bert", bert)):
            h = 0xCBF29CE484222325
            for ids in t(texts).input_ids:
                h = digest(h, ids)
            out[name].append(f"{h:016x}")
    with open(os.path.join(HERE, "random_texts.json"), "w") as f:
        json.dump({"pools": POOLS, "parts": PARTS, "size": SIZE, **out}, f, indent=0)
        f.write("\n")
