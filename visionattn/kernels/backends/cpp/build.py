"""Compile the C++ sources into the user's cache and load the result.

They are compiled once per version of the sources, compiler, flags and kind of CPU.

The cache is ``$VISIONATTN_CACHE``, else ``$XDG_CACHE_HOME/visionattn``, else ``~/.cache/visionattn``. ``$CXX`` names a
compiler to prefer.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MAIN = "attention.cpp"
SOURCES = {
    path.name: path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.*")) if path.suffix in (".cpp", ".h")
}
"""The sources as they are when this module is imported. What is compiled, and what names the result, are these bytes,
even if a file is edited meanwhile."""
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-fno-trapping-math", "-w")
FLAG_SETS = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",), ())
"""Tried in this order: not every compiler has OpenMP (threads of the C++ library serve then) or knows every CPU."""
TIMEOUT = 300


@dataclass(frozen=True)
class Loaded:
    """A loaded library, or the sentence that says why there is none."""

    library: ctypes.CDLL | None
    reason: str = ""


@lru_cache(maxsize=16)
def load(scalar: str, source: str = MAIN) -> Loaded:
    """The library of one source and scalar type ("float", "double", "bf16"), compiled if the cache lacks it; kept."""
    compiler = find_compiler()
    if compiler is None:
        return Loaded(None, "no C++ compiler was found (looked for $CXX, c++, g++, clang++)")
    try:
        return Loaded(ctypes.CDLL(str(compiled(compiler, scalar, source))))
    except (OSError, subprocess.SubprocessError) as error:
        return Loaded(None, f"compiling with {compiler} failed: {error}")


def find_compiler() -> str | None:
    """Path of a C++ compiler, or None."""
    paths = (shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++") if name)
    return next((path for path in paths if path), None)


def compiled(compiler: str, scalar: str, source: str = MAIN) -> Path:
    """The shared library's path. Written under a private name, then renamed: other processes never see half of it."""
    target = cache_directory() / f"{Path(source).stem}-{scalar}-{fingerprint(compiler, scalar)}.so"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        for name, content in SOURCES.items():
            (Path(scratch) / name).write_bytes(content)
        built = Path(scratch) / target.name
        run_compiler(compiler, scalar, Path(scratch) / source, built)
        built.replace(target)
    return target


def run_compiler(compiler: str, scalar: str, source: Path, output: Path) -> None:
    """Raises OSError with the compiler's first complaint if it accepts none of the flag sets."""
    for more in FLAG_SETS:
        command = [compiler, *FLAGS, *more, f"-DSCALAR={scalar}", str(source), "-o", str(output)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if result.returncode == 0:
            return
    complaint = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr.strip())
    raise OSError(complaint[:300])


def cache_directory() -> Path:
    """Where compiled libraries are kept."""
    named = os.environ.get("VISIONATTN_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "visionattn"


def fingerprint(compiler: str, scalar: str) -> str:
    """Hash of all that the compiled code depends on."""
    digest = hashlib.sha256()
    for name, content in SOURCES.items():
        digest.update(name.encode() + b"\0" + content)
    asked = [compiler, "--version"]
    version = subprocess.run(asked, capture_output=True, text=True, timeout=TIMEOUT, check=False).stdout
    digest.update(repr((compiler, version, FLAGS, FLAG_SETS, scalar, cpu_kind())).encode())
    return digest.hexdigest()[:20]


def cpu_kind() -> str:
    """What tells CPUs with different instructions apart, as far as the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()} {features}"
