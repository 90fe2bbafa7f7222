"""Compiling into the cache, and what happens where that is not possible."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from visionattn.kernels import window_attention
from visionattn.kernels.backends.cpp import build

Q = torch.randn(1, 4, 4, 1, 8)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a process that has not asked yet."""
    monkeypatch.setenv("VISIONATTN_CACHE", str(tmp_path))
    build.load.cache_clear()
    yield tmp_path
    build.load.cache_clear()


def test_without_a_compiler_the_tiles_run_and_explain_says_so(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    reasons = window_attention.explain(Q, Q, Q, window=2)
    assert "no C++ compiler was found" in reasons["cpp"]
    assert reasons["tiled"] == ""
    with pytest.raises(ValueError, match="no C\\+\\+ compiler was found"):
        window_attention(Q, Q, Q, window=2, backend="cpp")
    tiled = window_attention(Q, Q, Q, window=2, backend="tiled")
    assert torch.equal(window_attention(Q, Q, Q, window=2), tiled)


def test_a_compiler_that_fails_is_quoted(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = fresh / "broken"
    compiler.write_text("#!/bin/sh\necho 'fatal error: no such luck' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert "no such luck" in window_attention.explain(Q, Q, Q, window=2)["cpp"]
    assert not list(fresh.glob("*.so"))


@pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler on this machine")
def test_compiled_once_and_found_again(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.load("float").library is not None
    (library,) = fresh.iterdir()
    build.load.cache_clear()
    monkeypatch.setattr(build, "run_compiler", lambda *_: pytest.fail("compiled a second time"))
    assert build.load("float").library is not None
    assert list(fresh.iterdir()) == [library]
