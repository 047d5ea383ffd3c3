"""Writes clean.json.gz: texts, what ftfy and html.unescape make of them, and the ids that OpenAI's and open_clip's tokenizers have for them.

Python 3.11, ftfy 6.3.1, regex 2026.11.19, open_clip_torch 3.3.0 and clip-anytorch 2.6.0 (OpenAI's package), without their dependencies:
python clean.py
"""
import gzip, html, importlib.util, json, os, random, site, sys, types
import ftfy

HERE = os.path.dirname(os.path.abspath(__file__))
if importlib.util.find_spec("torch") is None:  # the tokenizers only name it
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].__dict__.update(LongTensor=object, Tensor=object)


def module(path):
    spec = importlib.util.spec_from_file_location(path.replace("/", "_")[:-3], os.path.join(site.getsitepackages()[0], path))
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    return m


oc, oa = module("open_clip/tokenizer.py"), module("clip/simple_tokenizer.py")
tokenizers = {"openai": oa.SimpleTokenizer(), **{how: oc.SimpleTokenizer(clean=how) for how in ("lower", "whitespace", "canonicalize")}}

rng = random.Random(0)
WORDS = "a cat dog photo café naïve Über straße façade señor Ελλάδα ΣΊΣΥΦΟΣ ΟΔΟΣ, привет мир Ёлка 日本語 猫 😀 👩‍👩‍👧 it's don't IT'S we'LL 'ſ İstanbul ﬁne ﬂuﬃest ŉ ǆ Ĳ “quoted” ‘single’ ‚low’ „low” … — – • ™ © ® € £ ° ½ × ÷ ¿qué? ¡sí! Ｆｕｌｌ ﾊﾝｶｸ 　 ｶﾞ ﾡ ￠ &amp; &lt;b&gt; &amp;amp; &amp;lt; &quot;x&quot; &#39; &#x27; &#8217; &#128; &#x81; &#0; &#1; &#xD800; &#1114112; &#99999999999999999999; &nbsp; &eacute; &EACUTE; &NTILDE; &nTILDE; &SZLIG; &NAPOS; &FFLIG; &AMP; &LT; &COPY; &notit; &not &copy2 &hearts; &NotEqualTilde; &fjlig; &CounterClockwiseContourIntegral; &bogus; &; &#; &#x; &ampx; &amp &lt <br> <|startoftext|> <|endoftext|> <start_of_text> <end_of_text> <END_OF_TEXT> <|ENDOFTEXT|> under_score semi;colon C++ 100% #tag $5 a.b".split() + [
    "\u00ad", "\u200b", "\ufeff", "\u0000", "\u0007", "\u001b[31mred\u001b[0m", "\u001b[", "\u007f", "\u0085", "\u0092", "\u0081", "\u00a0", "\u2028", "\u2029", "\r\n", "\r", "\n", "\t", "\x0b", "\x0c", "\x1c", "\ufffd", "\ufffc", "\u206a", "e\u0301", "\u0301" * 40, "\U0001d173", "\ue000", "\uf8ff", "ΑΣ", "Σ", "ΑΣ.", "ΑΣΑ", "ΑΣ'Α", "A\u0345Σ", "ßΣ"]
ENCODINGS = ["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso-8859-2", "mac_roman", "cp437"] + ["sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1254"]


def mojibake(s):
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        s = s.encode("utf-8", "surrogatepass").decode(rng.choice(ENCODINGS), rng.choice(["replace", "replace", "ignore"]))
    if rng.random() < .3:
        s = s.replace("\xa0", " ")
    if rng.random() < .1:
        s = s.replace("\ufffd", "?")
    return s


SAMPLES = ["café", "naïve façade", "“quotes” — dash…", "it’s", "à la mode", "voilà le travail", "às vezes", "Ünïcödé", "привет мир", "Ελληνικά γράμματα", "日本語のテキスト", "😀 👍🏽 emoji", "€100 £5", "señor ¿qué?", "مرحبا", "नमस्ते", "Łódź žluťoučký kůň", "Āboli ķēniņš", "®™©", "½ × ÷ ±", "x² y³", "\u2022 item", "ﬁ", "\xa0", "ŒUVRE œuvre", "Ã", "Â", "â€™", "\ud83d\ude00", "é", "É", "ﬂ\u00a0x", "𝓐𝓑"]
texts = ["", " ", "a cat", "&" + "amp;" * 30 + "lt;", "&#38;#38;#38;lt;", "<b>&amp;", "&amp;\n<b>&amp;\n&amp;", "schÃ¶n", "sÃ³", "voilÃ le travail", "Ã la mode", "âœ” No problems", "&macr;\\_(ã\x83\x84)_/&macr;", "l’humanitÃ©", "Ãºnico", "âˆšâˆ‚", "РџСЂРёРІРµС‚", "Î•Î»Î»Î¬Î´Î±", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "â€œ like this â€\ufffd", "Ã¢â‚¬â„¢", "ÃƒÂ©", "IÃ±tÃ«rnÃ¢tiÃ´nÃ lizÃ¦tiÃ¸n", "\xed\xa0\xbd\xed\xb8\x80", "\xc0\x80", "This text was never UTF-8 at all\x85", "\x91quoted\x92", "\u01c6 \u01c4", "ＬＯＵＤ　ＮＯＩＳＥＳ", "Ｕﾀｰﾝ", "P&EACUTE;REZ", "BUNDESSTRA&SZLIG;E", "&ntilde; &Ntilde; &NTILDE; &nTILDE;", "\u001b[36;44mI'm blue\u001b[0m"]
texts += WORDS + SAMPLES[:-6] + [mojibake(s) for s in SAMPLES for _ in range(12)]
while len(texts) < 1800:
    n, out = rng.randint(1, 8), []
    for _ in range(n):
        r = rng.random()
        out.append(mojibake(rng.choice(SAMPLES)) if r < .3 else rng.choice(WORDS) if r < .85 else "".join(chr(rng.choice([rng.randint(0x20, 0x7e), rng.randint(0x80, 0xff), rng.randint(0x100, 0x52f), rng.randint(0x2000, 0x266f)])) for _ in range(rng.randint(1, 8))))
    texts.append(rng.choice([" ", " ", "", "\n"]).join(out))
texts = [t.encode("utf-8", "replace").decode() for t in texts]
out = {"texts": texts, "fixed": [ftfy.fix_text(t) for t in texts], "unescaped": [html.unescape(t) for t in texts]}
for name, t in tokenizers.items():
    out[name] = [t.encode(x) for x in texts]
with gzip.GzipFile(os.path.join(HERE, "clean.json.gz"), "wb", mtime=0) as f:
    f.write(json.dumps(out, separators=(",", ":")).encode())
print(len(texts), "texts,", sum(a != b for a, b in zip(texts, out["fixed"])), "of them fixed")
