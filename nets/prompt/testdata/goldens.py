"""Writes goldens.json.gz: prompts, their parts with weights, and their chunks of ids and weights, by AUTOMATIC1111's own functions.

The functions are those of stable-diffusion-webui 1.10.1, whose folder is the argument: parse_prompt_attention of modules/prompt_parser.py and
tokenize_line of modules/sd_hijack_clip.py, with its defaults (emphasis Original, comma_padding_backtrack 20). Nothing else of it is needed:
what the two files import is replaced here. The tokenizer is transformers' with the vocabulary of ../../../weights/vocab/data.

Python 3.11, transformers 5.23.0, tokenizers 0.23.3: python goldens.py WEBUI
"""
import gzip, json, os, random, sys, types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../../../weights/vocab/testdata"), sys.argv[1]]
import tokenizers_of_transformers


def stub(name, **attrs):
    m = sys.modules[name] = types.ModuleType(name)
    m.__dict__.update(attrs)
    return m


tokenizer = tokenizers_of_transformers.clip()
if "torch" not in sys.modules:
    stub("torch", nn=types.SimpleNamespace(Module=object))
stub("lark", Lark=lambda *a, **k: None)
for name in ("devices", "sd_hijack", "sd_emphasis"):
    stub(f"modules.{name}")
stub("modules.shared", opts=types.SimpleNamespace(emphasis="Original", comma_padding_backtrack=20))
from modules import prompt_parser, sd_hijack_clip


class Embeddings:
    """find_embedding_at_position by token ids, the longest name first."""
    def __init__(self, vectors):
        named = [(tokenizer(n, add_special_tokens=False).input_ids, types.SimpleNamespace(name=n, vectors=v)) for n, v in vectors.items()]
        self.named = sorted(named, key=lambda x: -len(x[0]))

    def find_embedding_at_position(self, tokens, at):
        for ids, e in self.named:
            if tokens[at:at + len(ids)] == ids:
                return e, len(ids)
        return None, None


class Words(sd_hijack_clip.FrozenCLIPEmbedderWithCustomWordsBase):
    def __init__(self, vectors):
        self.chunk_length, self.comma_token = 75, tokenizer.get_vocab()[",</w>"]
        self.id_start, self.id_end = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.hijack = types.SimpleNamespace(embedding_db=Embeddings(vectors))

    def tokenize(self, texts):
        return tokenizer(texts, truncation=False, add_special_tokens=False).input_ids


rng = random.Random(0)
W = "a the cat dog castle on hill, , , sky, lake detailed 8k masterpiece, red (big) portrait of; it's BREAK BREAKfast AND don't é 猫 😀".split() + ["BREAK", "\n", " BREAK\n", "\\(", "\\)", "\\[", "\\]", "\\\\", "\\", ":", ": ", "\\:"]
prompts = ["", " ", "a cat", "(a)", "((a))", "[a]", "[[a]]", "(a:1.3)", "(a: 1.3 )", "(a:-1)", "(a:+.5)", "(a:0)", "[a:1.5]", "(a:b)", "(a:b:1.2)", "(unbalanced", "unbalanced)", "[unbalanced", "unbalanced]",
           "(a [b) c]", "((a:1.2):1.3)", "\\(literal\\]", "a \\\\ b", "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", "a BREAK b", "BREAK", "BREAK BREAK", "aBREAK", "BREAKb", "(BREAK)", "(a BREAK b:1.2)",
           "a: b", ":1.2)", "(:1.2)", "()", "[]", "(a:1.1)(b:1.1)", "a, " * 40, "a " * 75, "a " * 76, "a " * 74 + ", b c d", "a " * 60 + ", " + "b " * 20, "a " * 54 + ", " + "b " * 21, "a " * 53 + ", " + "b " * 22, "a " * 55 + ", " + "b " * 300,
           "a " * 74 + ",", "a " * 75 + ", b", "a " * 70 + ", b c d e f g (h:1.5) [i]", "x " * 75 + "BREAK y", "x " * 150, "(x:1.4) " * 151, "1.5)", "(a:1..5)"[:3] + ")", "\tBREAK\t", "a\u3000BREAK\x1cb", "é BREAKé", "_BREAK", "BREAK_", "(a:1.2", "a:1.2)", "[(a:1.2])"]
while len(prompts) < 700:
    out = []
    for _ in range(rng.randint(1, rng.choice([6, 30, 120]))):
        w = rng.choice(W)
        r = rng.random()
        w = f"({w}:{rng.choice(['1.3', '0.5', '-1', '2', '.7', ' 1.1 ', '1.'])})" if r < .1 else f"({w})" if r < .15 else f"[{w}]" if r < .2 else rng.choice("()[]") + w if r < .25 else w
        out.append(w)
    prompts.append(rng.choice([" ", " ", ", ", ""]).join(out))
vectors = {"easynegative": 8, "cat toy": 3, "mytoken": 1}
learned = [rng.choice([" ", ", "]).join(rng.choices(["easynegative", "cat toy", "cat", "mytoken", "a big", "(cat toy:1.2)", "EasyNegative", "cats toy"], k=rng.randint(1, 60))) for _ in range(60)]


def row(words, p):
    chunks, count = words.tokenize_line(p)
    assert all(len(c.tokens) == 77 == len(c.multipliers) for c in chunks)
    return {"prompt": p, "parts": prompt_parser.parse_prompt_attention(p), "tokens": count,
            "chunks": [{"ids": c.tokens, "weights": c.multipliers, "learned": [[f.offset, f.embedding.name] for f in c.fixes]} for c in chunks]}


plain, taught = Words({}), Words(vectors)
# Of a chunk whose last words move to the next one, tokenize_line leaves embeddings behind: such prompts are left out.
rows = [row(plain, p) for p in prompts]
more = [r for r in (row(taught, p) for p in learned) if all(o + vectors[n] <= 75 and c["ids"][1 + o:1 + o + vectors[n]] == [0] * vectors[n] for c in r["chunks"] for o, n in c["learned"])]
with gzip.GzipFile(os.path.join(HERE, "goldens.json.gz"), "wb", mtime=0) as f:
    f.write(json.dumps({"vectors": vectors, "prompts": rows, "learned": more}, separators=(",", ":")).encode())
print(len(rows), len(more), "prompts", max(len(r["chunks"]) for r in rows), "chunks at most")
