#!/usr/bin/env python3
"""Compiles kernels/*/op*.cu to the PTX beside each, and keeps RESOURCES.md.

    python3 kernels/cuda/ptx.py [--check] [room ...]

A room is a folder of kernels/ (matmul, conv, ...); none means all that have an
op.cu. op.cu is for sm_80 and later and gives op.ptx; a variant for one architecture
lies beside it as op.ARCH.cu (op.sm_90a.cu), gives op.ARCH.ptx, and is what a device
of that capability loads instead. With --check nothing is written: what the sources give has to be what is
committed. In both ways ptxas assembles the PTX for every architecture, a variant's for its own, and a
kernel that spills or touches local memory is an error.

NVRTC, its headers and ptxas come from the packages in requirements.txt, into
out/cuda. No toolkit, driver or GPU is needed.
"""

import argparse
import concurrent.futures
import ctypes
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
KERNELS = HERE.parent
CACHE = KERNELS.parent / "out" / "cuda"
RESOURCES = KERNELS / "RESOURCES.md"
ARCHS = ["sm_80", "sm_86", "sm_89", "sm_90"]

BASE = "sm_80"  # what op.cu is compiled for


def architecture(source):
    """What a source is compiled for: op.cu is the base's, op.sm_90a.cu that one's."""
    return source.name.removeprefix("op").removesuffix(".cu").lstrip(".") or BASE


def targets(source):
    """The architectures that its PTX is assembled for."""
    return ARCHS if source.name == "op.cu" else [architecture(source)]


HEADER = """# What each kernel takes

Written by `make ptx`, from what ptxas (CUDA 12.4) reports on the committed PTX.
Registers are per thread, as on {}. Shared memory is the
static part in bytes; what a launch asks for on top stands in the room's op.cu.
No kernel spills and none touches local memory: either is an error.
""".format(", ".join(ARCHS))


def toolchain():
    """The unpacked packages' folder, downloaded on first use."""
    requirements = HERE / "requirements.txt"
    # A change of the requirements asks for another folder.
    root = CACHE / hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    if (root / "done").exists():
        return root / "nvidia"
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
             "--disable-pip-version-check", "--require-hashes", "--platform", "manylinux2014_x86_64",
             "--dest", wheels, "-r", str(requirements)],
            check=True)
        root.mkdir(parents=True, exist_ok=True)
        for wheel in pathlib.Path(wheels).glob("*.whl"):
            with zipfile.ZipFile(wheel) as z:
                z.extractall(root)
    (root / "nvidia/cuda_nvcc/bin/ptxas").chmod(0o755)
    (root / "done").touch()
    return root / "nvidia"


class Compiler:
    """NVRTC by ctypes."""

    def __init__(self, nvidia):
        lib = nvidia / "cuda_nvrtc" / "lib"
        # NVRTC asks for its builtins by name; loaded before, they are found.
        ctypes.CDLL(str(lib / "libnvrtc-builtins.so.12.4"), mode=ctypes.RTLD_GLOBAL)
        self.nvrtc = ctypes.CDLL(str(lib / "libnvrtc.so.12"))
        self.nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        self.include = nvidia / "cuda_runtime" / "include"

    def _call(self, name, *args):
        status = getattr(self.nvrtc, name)(*args)
        if status != 0:
            raise RuntimeError(f"{name}: {self.nvrtc.nvrtcGetErrorString(status).decode()}")

    def _text(self, prog, what):
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", prog, ctypes.byref(size))
        buf = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", prog, buf)
        return buf.value.decode()

    def compile(self, source):
        """The PTX of a file, and what NVRTC had to say."""
        options = [f"--gpu-architecture={architecture(source).replace('sm_', 'compute_')}", "--std=c++17", "-default-device",
                   f"--include-path={self.include}", f"--include-path={HERE}"]
        prog = ctypes.c_void_p()
        # The program has a bare name: no path gets into the PTX.
        self._call("nvrtcCreateProgram", ctypes.byref(prog), source.read_bytes(), source.name.encode(), 0, None, None)
        try:
            argv = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            status = self.nvrtc.nvrtcCompileProgram(prog, len(options), argv)
            log = self._text(prog, "ProgramLog").replace(str(self.include) + "/", "").replace(str(HERE) + "/", "")
            if status != 0:
                raise SystemExit(f"{source.parent.name}/{source.name}:\n{log}")
            return self._text(prog, "PTX"), log
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(prog))


def assemble(ptxas, room, ptx, arch):
    """ptxas' report: {kernel: {"registers", "shared"}}, and what is wrong."""
    with tempfile.TemporaryDirectory() as tmp:
        path = pathlib.Path(tmp) / "op.ptx"
        path.write_text(ptx)
        run = subprocess.run([ptxas, "-v", f"-arch={arch}", "-o", os.devnull, path],
                             capture_output=True, text=True, check=False)
    text = run.stdout + run.stderr
    if run.returncode != 0:
        return {}, [f"{room}: ptxas {arch}:\n{text}"]
    kernels, wrong, name = {}, [], None
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)'", line):
            name = m[1]
            kernels[name] = {"registers": 0, "shared": 0}
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if any(int(v) for v in m.groups()):
                wrong.append(f"{room}: {name} on {arch}: {line.strip()}")
        elif m := re.search(r"Used (\d+) registers(.*)", line):
            kernels[name]["registers"] = int(m[1])
            if shared := re.search(r"(\d+) bytes smem", m[2]):
                kernels[name]["shared"] = int(shared[1])
            if re.search(r"\d+ bytes lmem", m[2]):
                wrong.append(f"{room}: {name} on {arch}: {m[2]}")
    if not kernels:
        wrong.append(f"{room}: ptxas {arch} names no kernel:\n{text}")
    return kernels, wrong


def section(reports):
    """A room's part of RESOURCES.md; reports: {arch: {kernel: ...}}."""
    lines = ["| kernel | registers | shared |", "| --- | --- | --- |"]
    for name in sorted(next(iter(reports.values()))):
        per = [r[name] for r in reports.values()]
        shared = {p["shared"] for p in per}
        lines.append("| `{}` | {} | {} |".format(
            name, " ".join(str(p["registers"]) for p in per), " / ".join(map(str, sorted(shared)))))
    return "\n".join(lines) + "\n"


def sections(text):
    """RESOURCES.md's sections, a room's or "room sm_90a": {name: text}."""
    parts = re.split(r"^## (.+)\n\n", text, flags=re.M)[1:]
    return {room: body.rstrip("\n") + "\n" for room, body in zip(parts[::2], parts[1::2])}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--check", action="store_true", help="compare with what is committed")
    args.add_argument("rooms", nargs="*", metavar="room")
    args = args.parse_args()

    every = sorted(p.parent.name for p in KERNELS.glob("*/op.cu"))
    rooms = args.rooms or every
    for room in rooms:
        if room not in every:
            raise SystemExit(f"kernels/{room} has no op.cu; there are: {', '.join(every)}")
    nvidia = toolchain()
    compiler = Compiler(nvidia)
    ptxas = nvidia / "cuda_nvcc" / "bin" / "ptxas"
    committed = RESOURCES.read_text() if RESOURCES.exists() else ""
    sources = {room: sorted((KERNELS / room).glob("op*.cu")) for room in every}
    titles = {s: s.parent.name if s.name == "op.cu" else f"{s.parent.name} {architecture(s)}" for l in sources.values() for s in l}
    table = {name: body for name, body in sections(committed).items() if name in titles.values()}
    wrong = []

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for source in [s for room in rooms for s in sources[room]]:
            name = titles[source]
            ptx, log = compiler.compile(source)
            if log.strip("\0 \n"):
                print(f"{name}:\n{log}")
            out = source.with_suffix(".ptx")
            if not args.check:
                out.write_text(ptx)
            elif not out.exists() or out.read_text() != ptx:
                wrong.append(f"{name}: {out.name} is not what {source.name} gives: run make ptx")
            jobs = {arch: pool.submit(assemble, ptxas, name, ptx, arch) for arch in targets(source)}
            reports = {}
            for arch, job in jobs.items():
                reports[arch], bad = job.result()
                wrong += bad
            if all(reports.values()):
                table[name] = section(reports)
                print(f"{name}: {len(next(iter(reports.values())))} kernels, {len(ptx) >> 10} KiB of PTX")

    text = HEADER + "".join(f"\n## {name}\n\n{table[name]}" for name in sorted(table))
    if not args.check:
        RESOURCES.write_text(text)
    elif text != committed:
        wrong.append("RESOURCES.md is not what ptxas reports: run make ptx")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
