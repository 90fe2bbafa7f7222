"""The first line of a command, printed before anything heavy is imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from visionattn.cli.arguments import Request
from visionattn.config.spelling import typed_choices

if TYPE_CHECKING:
    from omegaconf import DictConfig

_QUIET = ("explain",)  # commands that print what can be piped
_READ = ("ckpt", "source", "format")


def announce(cfg: DictConfig, request: Request, chosen: Mapping[str, str | None], sweeping: bool) -> None:
    """Print what the command is about, and where it writes."""
    if request.command in _QUIET:
        return
    choices = typed_choices(cfg, cfg.hydra.runtime.choices)
    parts = [f"{name}={choices[name]}" for name in ("experiment", "task", "backbone", "data") if choices.get(name)]
    parts += [f"{name}={cfg[name]}" for name in _READ if cfg.get(name) is not None]
    default = chosen.get("hydra.sweep.dir" if sweeping else "hydra.run.dir")
    folder = "" if request.dry_run else cfg.get("dir") or default
    where = f" into {_relative(folder)}" if folder and _relative(folder) != "." else ""
    output = sys.stderr if cfg.get("json") else sys.stdout  # a document is printed alone
    what = ", ".join(parts) or "starting"
    print(f"visionattn {request.command}: {what}{where}; loading PyTorch", file=output, flush=True)


def _relative(folder: str) -> str:
    path = Path(folder)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
