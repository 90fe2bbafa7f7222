"""Where a number comes from: code, versions, hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    *("torchvision", "timm", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow"),
    *("triton", "natten", "xformers", "transformers"),
)


def versions() -> dict[str, str]:
    """Versions of everything a number depends on, as far as it is installed."""
    from visionattn import __version__

    known = {"visionattn": __version__, "python": platform.python_version(), "torch": torch.__version__}
    if torch.version.cuda:
        known["cuda"] = torch.version.cuda
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            known[package] = metadata.version(package)
    return known


def commit() -> str:
    """The commit of the checkout that runs.

    ``+changes`` follows where files differ from it. Outside a checkout it is ``unknown``.
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
    """CPU, cores and GPUs in one line."""
    cpu = device_properties(torch.device("cpu"))
    gpus = [device_properties(torch.device("cuda", i))["name"] for i in range(torch.cuda.device_count())]
    return ", ".join([cpu["name"], f"{cpu['cores']} cores", *gpus])


def device_properties(device: torch.device) -> dict[str, Any]:
    """Name and size of a CPU or a GPU."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
        }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"name": _cpu_name(), "cores": cores, "threads": torch.get_num_threads()}


def _cpu_name() -> str:
    """The CPU's name where the system tells it, else its architecture."""
    information = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*:\s*(.+)", information.read_text()) if information.exists() else None
    return match.group(1) if match else platform.machine()


def hash_ids(ids: Iterable[str]) -> str:
    """sha256 over sample ids, in sorted order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def hash_file(path: str | Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
