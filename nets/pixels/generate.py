"""Makes libjpeg/wasm.go, libwebp/wasm.go and lcms/wasm.go: what Pillow reads with, as Go.

Each is compiled to WebAssembly and that is translated to Go, so that Pillow's own decoders run in a program without cgo,
within a memory of their own, and with nothing to compile or to load at start. With --check it compares with what is there.

Needs Python 3.11, cargo, Go, and Debian 12's clang, lld, wasi-libc, libclang-rt-14-dev-wasm32 (14.0.6, 20220510).
The sources are those of the crates turbojpeg-sys 1.2.0 (libjpeg-turbo 3.1.0), libwebp-sys 0.14.4
(libwebp) and lcms2-sys 4.0.7 (Little CMS 2.19).
"""
import glob
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CRATES = {"turbojpeg-sys": "1.2.0", "libwebp-sys": "0.14.4", "lcms2-sys": "4.0.7"}
WASM2GO = "github.com/ncruces/wasm2go@v0.4.21"

JPEG = """jdapimin jdapistd jdarith jaricom jdcoefct jdcolor jddctmgr jdhuff jdinput jdmainct jdmarker jdmaster jdmerge jdphuff
jdpostct jdsample jerror jidctflt jidctfst jidctint jidctred jmemmgr jmemnobs jutils jcomapi jquant1 jquant2 jdlhuff jdlossls
jddiffct jpeg_nbits""".split()
# What CMake makes of libjpeg-turbo's *.h.in for a decoder on a machine of 32 bits; with the
# last two its bit buffer has 64, as in Pillow's build: what is made of damaged data depends on it.
CONFIG = {
    "jconfig.h": """
#define JPEG_LIB_VERSION 62
#define LIBJPEG_TURBO_VERSION 3.1.0
#define LIBJPEG_TURBO_VERSION_NUMBER 3001000
#define D_ARITH_CODING_SUPPORTED 1
#define MEM_SRCDST_SUPPORTED 1
#define BITS_IN_JSAMPLE 8
""",
    "jconfigint.h": """
#define BUILD "parley"
#define HIDDEN
#define INLINE inline __attribute__((always_inline))
#define THREAD_LOCAL
#define PACKAGE_NAME "libjpeg-turbo"
#define VERSION "3.1.0"
#define SIZEOF_SIZE_T 4
#define FALLTHROUGH __attribute__((fallthrough));
#define __x86_64__
#define __ILP32__
""",
    "jversion.h": """
#define JVERSION "6b"
#define JCOPYRIGHT ""
#define JCOPYRIGHT_SHORT ""
""",
}


def run(*args, **kw):
    subprocess.run([str(a) for a in args], check=True, **kw)


def sources(work):
    """Fetches the crates and returns their folders."""
    deps = "".join(f'{n} = "={v}"\n' for n, v in CRATES.items())
    (work / "src").mkdir()
    (work / "src/lib.rs").touch()
    (work / "Cargo.toml").write_text(f'[package]\nname = "sources"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n{deps}')
    run("cargo", "vendor", "--quiet", "--versioned-dirs", work / "vendor", cwd=work, stdout=subprocess.DEVNULL)
    return [work / "vendor" / f"{n}-{v}" for n, v in CRATES.items()]


def build(work, name, flags, files):
    wasm, out = work / f"{name}.wasm", work / f"{name}.go"
    run("clang", "--target=wasm32-wasi", "-O2", "-mexec-model=reactor", "-DNDEBUG", "-w", *flags, HERE / name / "c/shim.c", *files,
        "-Wl,--gc-sections,--strip-all", "-o", wasm)
    run("go", "run", WASM2GO, "-pkg", name, "-unsafe", "-o", out, wasm)
    return out.read_bytes()


def main():
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        turbo, webp, cms = sources(work)
        turbo, webp = turbo / "libjpeg-turbo/src", webp / "vendor"
        cms = cms / "vendor"
        for file, text in CONFIG.items():
            (work / file).write_text(text)
        made = {
            "libjpeg": build(work, "libjpeg", ["-fno-builtin", "-DNO_GETENV", f"-I{work}", f"-I{turbo}"], [turbo / f"{f}.c" for f in JPEG]),
            "libwebp": build(work, "libwebp", [f"-I{webp}", f"-I{webp}/src"],
                             sorted(glob.glob(f"{webp}/src/dec/*.c") + glob.glob(f"{webp}/src/demux/*.c") + glob.glob(f"{webp}/src/utils/*.c")
                                    + [f for f in glob.glob(f"{webp}/src/dsp/*.c") if not any(
                                        f.endswith(s) for s in ("sse2.c", "sse41.c", "avx2.c", "neon.c", "msa.c", "mips32.c", "mips_dsp_r2.c"))])),
            "lcms": build(work, "lcms", ["-Os", "-DCMS_NO_PTHREADS", "-DCMS_NO_REGISTER_KEYWORD", f"-I{cms}/include"], [f for f in sorted(glob.glob(f"{cms}/src/*.c")) if not f.endswith(("cgats.c", "cmsps2.c", "cmscam02.c"))]),
        }
    stale = []
    for name, data in made.items():
        path = HERE / name / "wasm.go"
        if "--check" in sys.argv:
            if path.read_bytes() != data:
                stale.append(str(path))
        else:
            path.write_bytes(data)
    if stale:
        sys.exit("differs from what the sources give: " + ", ".join(stale))


if __name__ == "__main__":
    main()
