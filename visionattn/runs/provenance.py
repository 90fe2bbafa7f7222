"""Where a number comes from: code, versions, hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import torch

_PACKAGES = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Versions of everything a number depends on."""
    from visionattn import __version__

    found = {"visionattn": __version__, "python": platform.python_version()}
    return found | {package: metadata.version(package) for package in _PACKAGES} | {"torch": torch.__version__}


def commit() -> str:
    """The commit of the checkout that runs, with ``+changes`` where files differ from it; ``unknown`` outside a
    checkout.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def hardware() -> str:
    """Processor, cores and GPUs in one line."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([cpu_name(), f"{cores} cores", *gpus])


def cpu_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", information.read_text()) if information.exists() else None
    return found.group(1) if found else platform.machine()


def hash_ids(ids: Iterable[str]) -> str:
    """sha256 over sample ids, in sorted order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def hash_file(path: str | Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
