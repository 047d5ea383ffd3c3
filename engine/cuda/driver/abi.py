"""Compares include/cuda.h with the header of CUDA 12.4: every number, every
structure's layout, every signature; and with CUDA 13.0's, where it still declares them.
Needs pip and a C compiler; the headers are downloaded, looked at and thrown away.

    python3 engine/cuda/driver/abi.py
"""
import glob
import os
import re
import subprocess
import sys
import tempfile
import zipfile

WHEELS = {"12.4": "nvidia-cuda-runtime-cu12==12.4.127", "13.0": "nvidia-cuda-runtime==13.0.96"}
# What CUDA 13 declares otherwise, and its driver still has as it was: a version under
# another name is the driver's business, and a map on 128 bytes lies on 64.
CHANGED = {"CUDA_VERSION 12040", "CUtensorMap 128 64"}
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")


def run(*command, **kw):
    return subprocess.run(command, check=True, capture_output=True, text=True, **kw).stdout


def facts(include, names, structs, work):
    """Values, sizes and offsets, as a C program over that header prints them."""
    lines = ["#include <cuda.h>", "#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    for name in names:
        lines.append(f'printf("{name} %lld\\n", (long long){name});')
    for struct, fields in structs.items():
        lines.append(f'printf("{struct} %zu %zu\\n", sizeof({struct}), _Alignof({struct}));')
        for f in fields:
            lines.append(f'printf("{struct}.{f} %zu %zu\\n", offsetof({struct}, {f}), sizeof((({struct} *)0)->{f}));')
    source, program = os.path.join(work, "facts.c"), os.path.join(work, "facts")
    with open(source, "w") as f:
        f.write("\n".join(lines) + "\n}\n")
    run("cc", "-w", "-I", include, source, "-o", program)
    return run(program).splitlines()


def signatures(include):
    """The types of every function, without the parameters' names."""
    text = run("cc", "-E", "-P", "-I", include, os.path.join(include, "cuda.h")).replace("\n", " ")
    out = {}
    for name, params in re.findall(r"CUresult +(cu\w+)\(([^;]*)\);", text):
        types = []
        for p in params.split(","):
            p = p.strip()
            if p != "void":
                p = re.sub(r"\w+$", "", p)
            types.append(p.replace("unsigned int", "unsigned").replace(" ", ""))
        out[name] = types
    return out


def main():
    with open(os.path.join(HERE, "cuda.h")) as f:
        ours = f.read()
    names = re.findall(r"^    (CU\w+) = ", ours, re.M) + re.findall(r"^#define (CU_MEMH\w+|CU_TRSF\w+|CUDA_VERSION) ", ours, re.M)
    structs = {m[1]: re.findall(r"\*?(\w+)(?:\[\d+\])?(?=[,;])", m[0])
               for m in re.findall(r"typedef (?:struct|union) \w+ \{(.*?)\} (\w+);", ours, re.S)}
    differ = 0
    for version, wheel in WHEELS.items():
        with tempfile.TemporaryDirectory() as work:
            run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", work, wheel)
            with zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0]) as z:
                z.extractall(work)
            theirs = os.path.dirname(glob.glob(os.path.join(work, "**", "cuda.h"), recursive=True)[0])
            old = version == "12.4"
            pairs = zip(facts(HERE, names, structs, work), facts(theirs, names, structs, work), strict=True)
            bad = [f"{a}, in CUDA {version} {b}" for a, b in pairs if a != b and (old or a not in CHANGED)]
            mine, reference = signatures(HERE), signatures(theirs)
            gone = [n for n in mine if n not in reference and not old]
            bad += [f"{n}{t}, in CUDA {version} {reference.get(n)}" for n, t in mine.items() if n not in gone and reference.get(n) != t]
        for line in bad:
            print(line)
        print(f"CUDA {version}: {len(names)} numbers, {len(structs)} structures, {len(mine) - len(gone)} of {len(mine)} functions: "
              f"{len(bad)} differ")
        differ += len(bad)
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
