"""Writes goldens.json.gz: ids and decoded texts of transformers' CLIPTokenizer and BertTokenizer, with the real vocabularies and the miniature ones.

Python 3.11, transformers 5.23.0, tokenizers 0.23.3: python goldens.py
"""
import gzip, json, os, random
import tokenizers_of_transformers
from transformers import BertTokenizer, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
MINI = os.path.join(HERE, "../../mini/models")
rng = random.Random(0)

WORDS = "a the cat dog two three on of photo picture grass don't it's we've I'm you'll he'd they're CAN'T Straße naïve façade Über ÉCOLE résumé İstanbul ﬁne ½ 10,000 3.14 1st x2 2024 $5 50% C++ e-mail foo_bar http://a.b/c?d=e @user #tag".split()
SCRIPTS = ["привет мир", "ПРИВЕТ", "γειά σου Κόσμε ΣΊΣΥΦΟΣ", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "こんにちは世界", "カタカナ", "안녕하세요 세계", "你好，世界", "漢字仮名交じり文", "Ελλάδα", "ქართული", "հայերեն", "አማርኛ", "ខ្មែរ", "မြန်မာ", "தமிழ்", "తెలుగు", "བོད་སྐད", "ᏣᎳᎩ", "ᚱᚢᚾᛖ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𠀀𠀁𪚥", "ǅ ǆ Ǆ ß ẞ ŉ ǰ ﬀ ſ K Å"]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "☂", "☂️", "1️⃣", "🐈🐕", "🤷‍♀️", "❤️‍🔥"]
ODD = ["\u00ad", "\u200b", "\u200d", "\ufeff", "\u0000", "\u0007", "\u001b[0m", "\u007f", "\u0085", "\u00a0", "\u2003", "\u2028", "\u3000", "\t", "\n", "\r\n", "\ufffd", "\u0301", "e\u0301", "A\u030a", "\u1e9b\u0323", "\ue000", "\U0010ffff", "\u202e", "\u00b4", "`", "''", "—", "…", "«»", "“”", "‘s", "n’t", "'", "''s", "'S", "'LL", "'re've"]
SPECIAL = ["<|endoftext|>", "<|startoftext|>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "[DEC]", "[ENC]", "<|ENDOFTEXT|>", "[sep]", "</w>", "##s", "<unk>"]

texts = ["", " ", "   ", "\n", "a", "!", "?!", "cat", "a cat", " a  cat ", "A CAT", "a" * 300, "ab" * 200, "word " * 300, "1234567890" * 30, "!" * 200, "猫" * 150, "😀" * 80, "a picture of ", "a photo of a cat sitting on a mat, looking at the camera."]
texts += WORDS + SCRIPTS + EMOJI + ODD + [a + b for a in ("a", "a ", "") for b in ODD] + [o + "b" for o in ODD]
texts += ["x" + s + "y" for s in SPECIAL] + ["x " + s + " y" for s in SPECIAL] + SPECIAL
while len(texts) < 2300:
    parts = rng.choices(WORDS + SCRIPTS + EMOJI + ODD, k=rng.randint(1, 9))
    texts.append(rng.choice(["", " ", "  "]).join(parts))
while len(texts) < 2900:
    pool = rng.choice([(32, 126), (160, 0x24f), (0x300, 0x52f), (0x590, 0xdff), (0x1e00, 0x2bff), (0x3000, 0x30ff), (0x4e00, 0x9fff), (0xa000, 0xa8ff), (0xac00, 0xd7a3), (0xf900, 0xffef), (0x10000, 0x1ffff), (0x20000, 0x2ffff)])
    t = "".join(chr(rng.randint(*pool)) for _ in range(rng.randint(1, 12)))
    texts.append(t)


T = {"clip": tokenizers_of_transformers.clip(), "bert": tokenizers_of_transformers.bert(), "mini-clip": CLIPTokenizer.from_pretrained(f"{MINI}/clip"), "mini-bert": BertTokenizer.from_pretrained(f"{MINI}/blip")}
out = {"texts": texts}
for name, t in T.items():
    some = texts if not name.startswith("mini") else texts[:400]
    ids = [t(x).input_ids for x in some]
    out[name] = {"ids": ids, "decoded": [t.decode(i, skip_special_tokens=True) for i in ids]}
out["clip77"] = [T["clip"](x, padding="max_length", max_length=77, truncation=True).input_ids for x in texts[:60]]
with gzip.GzipFile(os.path.join(HERE, "goldens.json.gz"), "wb", mtime=0) as f:
    f.write(json.dumps(out, separators=(",", ":")).encode())
print(len(texts), "texts")
