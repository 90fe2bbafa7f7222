"""The folder that an export becomes."""

from __future__ import annotations

from pathlib import Path

from visionattn.errors import ConfigError

WRITTEN = (
    *("config.json", "config.yaml", "model.safetensors", "README.md", "curves.png"),
    *("model.onnx", "model.int8.onnx", "model.pt2", "model.aot.pt2", "preprocessing.json"),
)
"""Every file that an export writes; a folder with others is never replaced."""


def check_target(folder: Path, overwrite: bool) -> None:
    """Make sure that an export may become this folder.

    Raises:
        ConfigError: something is there already, and it is not an export that ``overwrite=true`` replaces.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"dir={folder} is a file; an export is a folder")
    entries = sorted(path.name for path in folder.glob("[!.]*")) if folder.is_dir() else []
    if not entries:
        return
    foreign = [name for name in entries if name not in WRITTEN]
    if foreign:
        raise ConfigError(
            f"dir={folder} holds files that no export wrote ({', '.join(foreign[:4])}): choose a new folder"
        )
    if not overwrite:
        raise ConfigError(
            f"dir={folder} holds an export already: choose another folder, or replace it by overwrite=true"
        )
