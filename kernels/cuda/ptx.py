#!/usr/bin/env python3
"""Compiles kernels/*/op.cu to the op.tar.zst beside each, and keeps RESOURCES.md.

    python3 kernels/cuda/ptx.py [--check] [room ...]

A room is a folder of kernels/ (matmul, conv, ...), or bench/probe; none means all that
have an op.cu. An op.tar.zst holds op.ptx and what ptxas makes of it, a cubin for each
architecture. A variant for one architecture lies beside op.cu as op.ARCH.cu
(op.sm_90.cu, or op.sm_90a.cu for what only that architecture has), with the same
entries, and its cubin takes the place of that architecture's. `tar --zstd -xf` unpacks it, and it is left unpacked in
out/kernels/ROOM, to read. With --check nothing is written there: what the sources
give has to be what is committed, to the byte. A kernel that spills or touches
local memory is an error, and so is a main loop whose mma are not spread among its
copies (loops.py), and a kernel that touches what another wrote before it waits for
that (depend.cuh).

NVRTC, its headers, ptxas and nvdisasm come from the packages in requirements.txt, into
out/cuda. Go packs. No toolkit, driver or GPU is needed.
"""

import argparse
import concurrent.futures
import ctypes
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

import loops

HERE = pathlib.Path(__file__).resolve().parent
KERNELS = HERE.parent
CACHE = KERNELS.parent / "out" / "cuda"
FOLDERS = {p.parent.name: p.parent for p in [*KERNELS.glob("*/op.cu"), *KERNELS.parent.glob("bench/*/op.cu")]}
UNPACKED = KERNELS.parent / "out" / "kernels"
RESOURCES = KERNELS / "RESOURCES.md"
ARCHS = ["sm_80", "sm_86", "sm_89", "sm_90"]

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
    for tool in ("cuda_nvcc/bin/ptxas", "cu13/bin/nvdisasm"):
        (root / "nvidia" / tool).chmod(0o755)
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

    def compile(self, source, arch="sm_80"):
        """The PTX of a file for an architecture and later ones, and what NVRTC had to say."""
        options = [f"--gpu-architecture={arch.replace('sm', 'compute')}", "--std=c++17", "-default-device",
                   f"--include-path={self.include}", f"--include-path={HERE}"]
        prog = ctypes.c_void_p()
        # The program has a bare name: no path gets into the PTX.
        self._call("nvrtcCreateProgram", ctypes.byref(prog), source.read_bytes(), b"op.cu", 0, None, None)
        try:
            argv = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            status = self.nvrtc.nvrtcCompileProgram(prog, len(options), argv)
            log = self._text(prog, "ProgramLog").replace(str(self.include) + "/", "").replace(str(HERE) + "/", "")
            if status != 0:
                raise SystemExit(f"{source.parent.name}/{source.name}:\n{log}")
            return self._text(prog, "PTX"), log
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(prog))


def image(*args):
    """Calls kernels/cuda/image, which packs and unpacks op.tar.zst."""
    subprocess.run(["go", "run", "./kernels/cuda/image", *map(str, args)], cwd=KERNELS.parent, check=True,
                   env={**os.environ, "CGO_ENABLED": "0"})


def contents(folder):
    """The files of a folder: {name: bytes}."""
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def variant(room, arch):
    """The architecture that a room has a source of its own for, and that source: {arch} or {arch}a."""
    for own in (arch + "a", arch):
        source = FOLDERS[room] / f"op.{own}.cu"
        if source.exists():
            return own, source
    return None, None


def for_arch(text, arch):
    """PTX for an architecture, with the instructions of sm_90 that stand in it as comments (depend.cuh). cuda.Image.TextFor does the same."""
    if int(arch[3:5]) < 90 or "//sm_90 " not in text:
        return text
    return text.replace("//sm_90 ", "").replace(".target sm_80", ".target sm_90")


def half_dependent(text):
    """The kernels that have one of depend.cuh's instructions and not the other, of PTX that has any."""
    wait, launch = "//sm_90 griddepcontrol.wait;", "//sm_90 griddepcontrol.launch_dependents;"
    if wait not in text and launch not in text:
        return []
    bodies = re.split(r"^\.visible \.entry (\w+)", text, flags=re.M)[1:]
    return [name for name, body in zip(bodies[::2], bodies[1::2]) if wait not in body or launch not in body]


def early(text):
    """The kernels that touch global memory before they wait for the kernel before, other than by copying weights (cp.async)."""
    access = re.compile(r"\b(ld|st|atom|red)\.(volatile\.|relaxed\.|acquire\.)?global")
    bodies = re.split(r"^\.visible \.entry (\w+)", text, flags=re.M)[1:]
    return [name for name, body in zip(bodies[::2], bodies[1::2])
            if "//sm_90 griddepcontrol.wait;" in body and access.search(body.split("//sm_90 griddepcontrol.wait;")[0])]


def assemble(compiler, ptxas, room, folder, arch):
    """Makes op.ARCH.cubin in the folder, of op.ptx or of the variant's. Returns ptxas' report, {kernel: {"registers", "shared"}}, and what
    is wrong."""
    target, source = variant(room, arch)
    with tempfile.TemporaryDirectory() as tmp:
        text = for_arch((folder / "op.ptx").read_text(), arch) if source is None else compiler.compile(source, target)[0]
        (pathlib.Path(tmp) / "op.ptx").write_text(text)
        # Bare names: no path gets into the cubin.
        run = subprocess.run([ptxas, "-v", f"-arch={target or arch}", "-o", "op.cubin", "op.ptx"],
                             cwd=tmp, capture_output=True, text=True, check=False)
        if run.returncode == 0:
            shutil.copy(pathlib.Path(tmp) / "op.cubin", folder / f"op.{arch}.cubin")
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


def pack(room, folder, check):
    """Packs a room's folder as its op.tar.zst, or compares it with what is committed. Returns what is wrong."""
    out = FOLDERS[room] / "op.tar.zst"
    if not check:
        image("pack", out, folder)
        return []
    if not out.exists():
        return [f"{room}: there is no op.tar.zst: run make ptx"]
    with tempfile.TemporaryDirectory() as tmp:
        image("unpack", out, tmp)
        have, want = contents(pathlib.Path(tmp)), contents(folder)
    return [f"{room}: {name} in op.tar.zst is not what op.cu gives: run make ptx"
            for name in sorted(have.keys() | want.keys()) if have.get(name) != want.get(name)]


def section(reports):
    """A room's part of RESOURCES.md; reports: {arch: {kernel: ...}}."""
    lines = ["| kernel | registers | shared |", "| --- | --- | --- |"]
    for name in sorted(reports[ARCHS[0]]):
        per = [reports[a][name] for a in ARCHS]
        shared = {p["shared"] for p in per}
        lines.append("| `{}` | {} | {} |".format(
            name, " ".join(str(p["registers"]) for p in per), " / ".join(map(str, sorted(shared)))))
    return "\n".join(lines) + "\n"


def sections(text):
    """RESOURCES.md's rooms: {room: text}."""
    parts = re.split(r"^## (\w+)\n\n", text, flags=re.M)[1:]
    return {room: body.rstrip("\n") + "\n" for room, body in zip(parts[::2], parts[1::2])}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--check", action="store_true", help="compare with what is committed")
    args.add_argument("rooms", nargs="*", metavar="room")
    args = args.parse_args()

    every = sorted(FOLDERS)
    rooms = args.rooms or every
    for room in rooms:
        if room not in every:
            raise SystemExit(f"kernels/{room} has no op.cu; there are: {', '.join(every)}")
    nvidia = toolchain()
    compiler = Compiler(nvidia)
    ptxas, nvdisasm = nvidia / "cuda_nvcc" / "bin" / "ptxas", nvidia / "cu13" / "bin" / "nvdisasm"
    committed = RESOURCES.read_text() if RESOURCES.exists() else ""
    table = {room: body for room, body in sections(committed).items() if room in every}
    wrong = []

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for room in rooms:
            ptx, log = compiler.compile(FOLDERS[room] / "op.cu")
            if log.strip("\0 \n"):
                print(f"{room}/op.cu:\n{log}")
            folder = UNPACKED / room
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "op.ptx").write_text(ptx)
            wrong += [f"{room}: {name} does not both wait for the kernel before and launch its dependents" for name in half_dependent(ptx)]
            wrong += [f"{room}: {name} touches global memory before it waits for the kernel before" for name in early(ptx)]
            jobs = {arch: pool.submit(assemble, compiler, ptxas, room, folder, arch) for arch in ARCHS}
            reports = {}
            for arch, job in jobs.items():
                reports[arch], bad = job.result()
                wrong += bad
                if not bad:
                    slow, seen = loops.check(nvdisasm, folder / f"op.{arch}.cubin")
                    wrong += [f"{room} on {arch}: {line}" for line in slow]
                    print("".join(f"{arch} {line}\n" for line in seen), end="")
            if all(reports.values()):
                table[room] = section(reports)
                wrong += pack(room, folder, args.check)
                print(f"{room}: {len(reports[ARCHS[0]])} kernels, {len(ptx) >> 10} KiB of PTX")

    text = HEADER + "".join(f"\n## {room}\n\n{table[room]}" for room in sorted(table))
    if not args.check:
        RESOURCES.write_text(text)
    elif text != committed:
        wrong.append("RESOURCES.md is not what ptxas reports: run make ptx")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
