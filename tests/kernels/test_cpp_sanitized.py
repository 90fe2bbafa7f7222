"""The C++ code under AddressSanitizer and UndefinedBehaviorSanitizer: no address outside a tensor or a table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from visionattn.kernels.backends.cpp import build

NAMES = (
    "test_agreement.py",
    "test_tokens.py",
    "test_scan.py",
    "test_routed.py",
    "test_cpp_layers.py",
    "test_cpp_packed.py",
    "test_cpp_products.py",
)
TESTS = [str(Path(__file__).with_name(name)) for name in NAMES]
SANITIZE = "-O1 -g -fsanitize=address,undefined -fno-sanitize=alignment -fno-sanitize-recover=undefined"


def runtime(compiler: str, name: str) -> str:
    """Path of a sanitizer's library, which has to be there before Python is; skips where the compiler has none."""
    asked = [compiler, f"-print-file-name={name}"]
    path = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if not Path(path).is_absolute():
        pytest.skip(f"{compiler} has no {name}")
    return path


@pytest.mark.heavy
def test_no_address_outside_what_was_handed_over(tmp_path: Path) -> None:
    compiler = build.find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    wrapper = tmp_path / "sanitizing"
    wrapper.write_text(f'#!/bin/sh\nexec "{compiler}" "$@" {SANITIZE}\n')
    wrapper.chmod(0o755)
    environment = os.environ | {
        "CXX": str(wrapper),
        "VISIONATTN_CACHE": str(tmp_path),
        "LD_PRELOAD": f"{runtime(compiler, 'libasan.so')} {runtime(compiler, 'libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
    }
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-k", "cpp", *TESTS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    assert list(tmp_path.glob("attention-*.so"))
    assert list(tmp_path.glob("tokens-*.so"))
    assert list(tmp_path.glob("scan-*.so"))
    assert list(tmp_path.glob("routed-*.so"))
    assert list(tmp_path.glob("layers-*.so"))
