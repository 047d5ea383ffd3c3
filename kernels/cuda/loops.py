"""Reads the main loops of kernels out of machine code, and says what of them is not as it should be.

What ptxas can hide behind each other it has to have in one basic block: it moves no
instruction across a branch. So the block of a loop that has the mma has to have the
copies (LDGSTS) and the reads of fragments (LDSM) of the loop as well, and the mma
are to be spread among them: the measure is the longest run of instructions
without an mma, as a share of the block.
"""

import re
import subprocess

# The kernels that are held to it, and the longest run's share, at most: tiles of 128
# columns and more have mma enough to spread.
MAIN = re.compile(r"(conv|linear|geglu)_f16_(\d+)x(\d+)x32")
LARGE, SMALL = 0.10, 0.45

# Two products with a softmax between: each product's mma in a block of their own.
ATTENTION = re.compile(r"attention_(few_)?f16_d\d+")

BRANCH = re.compile(r"\b(BRA|BRX|JMP|CALL|RET|EXIT|BSYNC|BREAK)\b")


def kernels(nvdisasm, cubin):
    """The instructions of each kernel of a cubin, and the targets of branches: {name: (instructions, {label: index})}."""
    text = subprocess.run([nvdisasm, "-c", "-ndf", cubin], capture_output=True, text=True, check=True).stdout
    out, name = {}, None
    for line in text.splitlines():
        if m := re.match(r"\.text\.(\w+):", line):
            name = m[1]
            out[name] = ([], {})
        elif name and (m := re.match(r"(\.L\w+):", line)):
            out[name][1][m[1]] = len(out[name][0])
        elif name and (m := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line)):
            out[name][0].append(m[1])
    return out


def main_loop(code, labels):
    """The innermost loop with the most mma, as (first, behind the last), or None."""
    loops = []
    for i, text in enumerate(code):
        m = re.search(r"\bBRA\b.*?(\.L\w+)", text)
        if m and labels[m[1]] <= i and mma(code[labels[m[1]]:i + 1]):
            loops.append((labels[m[1]], i + 1))
    inner = [(a, b) for a, b in loops if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)]
    return max(inner, key=lambda l: mma(code[l[0]:l[1]]), default=None)


def blocks(code, labels, first, end):
    """The basic blocks of a range of instructions."""
    cuts = {first, end} | {at for at in labels.values() if first < at < end}
    cuts |= {i + 1 for i in range(first, end) if BRANCH.search(code[i])}
    cuts = sorted(cuts)
    return [code[a:b] for a, b in zip(cuts, cuts[1:])]


def count(code, opcode):
    return sum(opcode in text for text in code)


def mma(code):
    return count(code, "HMMA")


def longest_run(block):
    """The most instructions in a row without an mma."""
    most = run = 0
    for text in block:
        run = 0 if "HMMA" in text else run + 1
        most = max(most, run)
    return most


def check(nvdisasm, cubin):
    """What is wrong with the main loops of a cubin, and a line for each loop that was looked at."""
    wrong, seen = [], []
    for name, (code, labels) in sorted(kernels(nvdisasm, cubin).items()):
        main = MAIN.fullmatch(name)
        if not main and not ATTENTION.fullmatch(name):
            continue
        loop = main_loop(code, labels)
        if loop is None:
            wrong.append(f"{name}: no loop with mma")
            continue
        parts = blocks(code, labels, *loop)
        with_mma = [b for b in parts if mma(b)]
        if not main:
            if len(with_mma) > 2:
                wrong.append(f"{name}: the mma of two products are in {len(with_mma)} blocks")
            continue
        body = max(parts, key=mma)
        share = longest_run(body) / len(body)
        seen.append(f"{name}: {mma(body)} mma in a block of {len(body)}, {longest_run(body)} without at most")
        for what in ("HMMA", "LDSM", "LDGSTS"):
            all_, here = count(code[loop[0]:loop[1]], what), count(body, what)
            if not all_ or here != all_:
                wrong.append(f"{name}: the main loop's block has {here} of its {all_} {what}")
        most = LARGE if int(main[3]) >= 128 else SMALL
        if share > most:
            wrong.append(f"{name}: {longest_run(body)} of the {len(body)} instructions of the main loop's block stand in a row without "
                         f"an mma: {share:.2f}, at most {most}")
    return wrong, seen
