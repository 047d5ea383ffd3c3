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
  abbreviations.json  words before a point that end a sentence or do not, and their tokens
  stems.tsv.gz      the words of all captions and more, and their stems
  fid.json          FID of features that a formula gives
  meteor/           what METEOR makes of a small language of our own, whose
                    synonyms and paraphrases are dense: data and scores
"""
import collections
import gzip
import hashlib
import json
import os
import random
import struct
import subprocess
import sys

import numpy as np
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


def plain_cider(gts, res):
    """The paper's equation: cosines of tf-idf vectors, neither clipped nor penalised, times 10."""
    grams = lambda s, n: collections.Counter(zip(*[s.split()[i:] for i in range(n)]))
    total = 0.0
    for n in range(1, 5):
        refs = {k: [grams(r, n) for r in v] for k, v in gts.items()}
        df = collections.Counter(g for v in refs.values() for g in set().union(*v))
        weigh = lambda c: {g: f * (np.log(len(gts)) - np.log(max(1, df[g]))) for g, f in c.items()}
        norm = lambda v: np.sqrt(sum(x * x for x in v.values()))
        for k, v in refs.items():
            h = weigh(grams(res[k][0], n))
            for r in map(weigh, v):
                scale = norm(h) * norm(r)
                total += sum(x * r.get(g, 0) for g, x in h.items()) / scale / len(v) if scale else 0
    return float(total / 4 * 10 / len(gts))


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
    corpus["CIDEr_plain"] = plain_cider(gts, res)
    corpus["tokens_sha256"] = digest.hexdigest()
    write("karpathy.json", (json.dumps(corpus, indent=1) + "\n").encode())
    write("karpathy.bin.gz", b"".join(struct.pack("<%dd" % len(r), *r) for r in rows))
    return captions


# What captions could hold to trip a tokenizer.
PIECES = ["don't","can't","I'm","they've","we'll","he'd","dogs'","'tis","'twas","cannot","gonna","wanna","lemme","o'clock","C'mon","y'all","'em","'90s","'09","rock'n'roll","'n'",
"U.S.","U.K.","Mr.","Mrs.","Dr.","St.","Inc.","Co.","Corp.","Jan.","etc.","a.m.","p.m.","Ph.D.","e.g.","i.e.","vs.","no.","fig.","No. 5","ca. 1900","pty. ltd.","co. ltd","B.","A.","plan B.","I.","The","A","Then","He","a","the","man","Man","dog",
"1","12","1/2","5 7/8","3-1/2","10:30","1,000","1,000.50","-5","+3","12/25/2009","1-2-99","555-1234","(510) 555-1234","+44 20 7946 0958","555.123.4567","½","¼","¾","⅓","⅔","²","x²","°","$5","US$10","£5","€7","¢","#","#1","#tag","@name","@","C++","c#","F#",
"http://a.com/b.html","https://x.org/?q=1,2","www.example.com","example.com","foo.org/bar","me@example.com","<me@example.com>","file.txt","a.jpg,","mp3","x.html.",
"<b>","</b>","<a href='x'>","<br/>","<","<<",">>",">","&amp;","AT&T","AT&amp;T","R&D","&lt;","&gt;","&quot;","&apos;","&nbsp;","&eacute;","caf&eacute;","&mdash;","&#123;",
":)",":-)",";-(",":D","=P","^_^","(^_^)","-_-","<3","\"","\"quoted\"","'quoted'","``","''","`","“curly”","‘single’","it’s","don’t","«g»","(",")","[","]","{","}","(a)","[b]","{c}",
"-","--","---","----","-----","–","—","well-known","black-and-white","pro-","anti-war","pre-1990","A-1","T.V.","TV's","a.b.c","x-y-z.","e-mail,","o-o",".","..","...","....","......",". . .",". . . .","…","!","!!","?!","?",",",";",":","*","**","***","\\*","/","and/or","either/or","w/","a/b/c","=","+","%","50%","&","~","^","|","||","\\","_","__","a_b","S&P-500","S&amp;P-500","S&Ls","-LRB-","-RRB-","C.D.s","Cap'n","c'est","d'Artagnan","l'eau","O'Brien","O'Hare","Shi'ite","n't","'s","'re","s'mores","li'l","ev'ry","e'er","cont'd","cont'd.","nor'easter","somethin'","ol'","Dunkin'","'cause","'til","'till",
"😀","👍🏽","é","naïve","Ünïcode","日本語","中文。","かな","Привет","ελληνικοΣ","ΣΑΣ","İstanbul","ﬁ","soft\u00adhyphen","\u00ad","\u00a0","a\u00a0b","\u200b","\ufeff","\u3000","\u2009","\t","²³","₂","№","×","÷","→","∞","①","ª","º","µ","ß","ſ","K","Å","\u0301","e\u0301","हिन्दी","العربية","עברית","ไทย","한국어","\x00","\x01","\x1c","\x7f","\x80","\x91q\x92","\x93q\x94","\x96","\ue000","\ufffd","Canada-U.S.","U.S.-U.K.","Sino-U.S. trade","Jr.","Sr.","Ave.","Blvd.","Ft.","Mt.","Wash.","wash.","Pa.","pa.","Miss.","miss.","Ill.","ill.","Mass.","Tex.","Ore.","Del.","del.","approx.","dept.","Prof.","Gen.","rev.","Sat.","Sun.","Mon.","Tue.","sq.","ft.","est.","tel.","ext."]
LETTERS = "aAbBsStTnNeE.,'-\"!? 0123&;:/()<>@#$%_`*=\\+~^|[]{}\u00e9\u2019\u00a0"


# Words that a point may belong to, and some that it never does; endings of files.
WORDS = """
A About According Additionally Adj Adm Adv After Ala Alex An Apr Apt Apts Ariz Ark As Assn Assoc Asst At Attys Aug Ave
Az Bancorp Bart Bhd Bldg Blvd Brig Bros But Calif Capt Chap Cie Col Colo Comdr Conn Corp Cos Cpl Ct Dak Dec Del Dept
Det Doc Drs Earlier Ed Ed.D Elec Eng Ens Esq Feb Fla Fri Ft Ga Gal Gen Govs He Her Here Hon Hosp However If Ill In Inc
Ind Insp Inst Intl Invt It Jan Jos Jr Jul July Jun June Kans Ky La Lab Last Lieut Lt Ltd Maj Many Mar Mass Max May Md
Messrs Mfg Mftg Mich Min Minn Miss Mlle Mme Mo Mon Mont More Mr Mrs Ms Msgr Mt Mtg Natl Neb Nev Nov Now Obs Oct Okla
Once One Ore Other Our Pa Pat Penn Pfc Ph Ph.D PhD Plc Pptyes Pres Profs Ptys Pvt Quart Rd Reg Reps Rev Rt Sat Sec
Sens Sep Sept Sfc Sgt She Since So Some Spc Sr Ste Such Sun Supts Sys TREAS Tech Tenn Tex That The Their Then There
These They This Thu Thurs Tue Tues Univ Va Vol Vt Wash We Wed Weds What When While Wis Wisc Wm Wyo Yet You Yr a.k.a
aka al approx art bldg ca cat cf dog est etc ext figs man nos op pp prop seq sq tel vs
""".split()
ENDINGS = "bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql tar txt wav x xml zip zzz rs go".split()


def abbreviations():
    lines = []
    for w in WORDS:
        lines += ["the %s. of it" % w, "the %s. 5" % w, "the %s. The man" % w, "in %s." % w, "%s. x" % w.upper(), "%s. x" % w.lower(), "A.B. %s he" % w]
    lines += ["a name.%s here" % e for e in ENDINGS]
    got = tokenize({i: [line] for i, line in enumerate(lines)})
    write("abbreviations.json.gz", json.dumps([lines, [got[i][0] for i in range(len(lines))]]).encode())


def tokens():
    rng = random.Random(7)
    lines = []
    for c in range(1, 0x10000, 5):
        if not 0xD800 <= c < 0xE000 and c not in (10, 11, 12, 13, 0x85, 0x2028, 0x2029):
            lines.append("x%cy %c 1%c2 %cq" % (c, c, c, c))
    for p in PIECES:
        lines += [p, p + ".", "(" + p + ")", p + "'s", p + " The man.", p.upper(), p + p, p + "-" + p, p + "1"]
    for _ in range(3000):
        lines.append("".join(rng.choice(PIECES) + rng.choice([" ", " ", " ", "", "", "  ", ", ", ". ", ".", "'", "-"]) for _ in range(rng.randint(1, 7))))
    for _ in range(3000):
        lines.append("".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 16))))
    got = tokenize({i: [line] for i, line in enumerate(lines)})
    assert len(got) == len(lines)
    write("tokens.json.gz", json.dumps([lines, [got[i][0] for i in range(len(lines))]]).encode())


def stems(captions):
    words = {w for v in captions.values() for c in v for w in c.lower().replace(".", " ").replace(",", " ").split() if w.isalpha()}
    rng = random.Random(3)
    ends = "s es ed ing ly ness ful less able ible ation ational ization izer iveness fulness ousness aliti biliti entli ousli ousy ies ied eed eedly edly ingly y ys ying logi li ll tt bb e ee's s' er est ment ement ance ence ism iti ous ive ize ion sion tion".split()
    while len(words) < 20000:
        words.add("".join(rng.choice("aeiouybcdfghlmnprstwxz") for _ in range(rng.randint(1, 6))) + rng.choice(ends) + rng.choice(["", "", rng.choice(ends)]))
    words = sorted(words)
    out = subprocess.run(["java", "-cp", METEOR, "Stemmer", "en"], input="\n".join(words) + "\n", capture_output=True, text=True, check=True, encoding="utf-8").stdout.split("\n")[: len(words)]
    write("stems.tsv.gz", "".join("%s\t%s\n" % x for x in zip(words, out)).encode())


def small_meteor():
    """A language of few words, so that the beam search has much to choose from."""
    rng = random.Random(11)
    stems_ = ["walk", "talk", "jump", "paint", "look"]
    words = [s + e for s in stems_ for e in ("", "s", "ed", "ing")] + "cat dog hound kitty mouse mice big large huge red green sea ocean".split()
    function = "the a of on and in".split()
    synsets = {"cat": [1, 2], "kitty": [2], "dog": [3], "hound": [3, 4], "big": [5], "large": [5, 6], "huge": [6], "mouse": [7], "sea": [8], "ocean": [8], "look": [9], "talk": [9, 10], "walk": [11]}
    write("meteor/function/english.words", "".join(w + "\n" for w in function).encode())
    write("meteor/nonbreaking/english.prefixes", b"# of those in METEOR's list\nvs\ne.g\npp #NUMERIC_ONLY#\nNo #NUMERIC_ONLY#\n")
    write("meteor/synonym/english.synsets", "".join("%s\n%s\n" % (w, " ".join(map(str, v))) for w, v in synsets.items()).encode())
    write("meteor/synonym/english.exceptions", b"mouse\nmice\n")
    everything = words + function
    pairs = []
    for _ in range(400):
        pick = lambda: " ".join(rng.choice(everything) for _ in range(rng.choice([1, 1, 2, 2, 3])))
        pairs.append("%.4f\n%s\n%s\n" % (rng.random(), pick(), pick()))
    write("meteor/paraphrase-en.gz", "".join(pairs).encode())
    sentence = lambda: " ".join(rng.choice(everything) for _ in range(rng.randint(0, 14)))
    odd = ["U.S. cat", "the dog's cat", "walk -- talk", "e.g. walk vs. talk pp. 5 No. 7", "mr. cat...", "cat, dog; 1,000", "red-green cats", "the \u201cbig\u201d cat\u2019s", "", "''cat''", "sea\u00a0ocean", "the 1990's cat", "a.b cat.", "look. Walk."]
    items = [{"caption": sentence(), "references": [sentence() for _ in range(rng.randint(1, 4))]} for _ in range(600)]
    items += [{"caption": o, "references": [rng.choice(odd), sentence()]} for o in odd for _ in range(3)]
    folder = os.path.join(HERE, "meteor")
    java = subprocess.Popen(["java", "-jar", METEOR, "-", "-", "-stdio", "-l", "en", "-norm", "-d", os.path.join(folder, "synonym"), "-s", os.path.join(folder, "function", "english.words"), "-a", os.path.join(folder, "paraphrase-en.gz")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(line):
        java.stdin.write((line + "\n").encode())
        java.stdin.flush()
        return java.stdout.readline().decode().strip()

    lines = [ask(" ||| ".join(["SCORE", *i["references"], i["caption"].replace("  ", " ")])) for i in items]
    items_scores = [float(ask(" ||| ".join(["EVAL", *lines])))] + [float(java.stdout.readline()) for _ in lines]
    java.stdin.close()
    for i, s in zip(items, items_scores):
        i["score"] = s
    write("meteor/scores.json", json.dumps({"corpus": items_scores[-1], "items": items}, indent=0).encode())


def fid():
    """FID by the eigenvalues of C1 C2, of features that a formula gives."""
    cases = []
    for n1, n2, d in ((50, 40, 8), (6, 9, 16), (200, 300, 3)):
        rows = lambda n, k: np.array([[np.sin(1.7 * i * (j + 1) + k) + 0.1 * k * j for j in range(d)] for i in range(n)])
        a, b = rows(n1, 1), rows(n2, 2)
        c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        root = np.sqrt(np.maximum(np.linalg.eigvals(c1 @ c2).real, 0)).sum()
        cases.append({"n": [n1, n2], "d": d, "fid": float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2) - 2 * root)})
    write("fid.json", (json.dumps(cases, indent=1) + "\n").encode())


def main():
    fid()
    captions = karpathy(sys.argv[1])
    tokens()
    abbreviations()
    stems(captions)
    small_meteor()


if __name__ == "__main__":
    main()
