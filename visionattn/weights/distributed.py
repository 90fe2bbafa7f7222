"""Distributed checkpoints: folders with a file for each process, as ``torch.distributed.checkpoint`` writes them.

Torch reads such a folder's list of contents by unpickling it, which can run code. Here it is read by a reader that
builds nothing but what such lists are made of, and only tensors are taken.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionattn.errors import CheckpointError

CONTENTS, FACTS, SUMS = ".metadata", "meta.pt", "checksums.json"
_STATE = "state_dict."
_KNOWN = {
    "torch.distributed.checkpoint.metadata": (
        *("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "_MEM_FORMAT_ENCODING"),
        *("TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata"),
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "pathlib": ("Path", "PosixPath", "PurePosixPath"),
}
_PIECE = 1 << 24


def is_distributed(path: Path) -> bool:
    """Whether this folder is such a checkpoint."""
    return (path / CONTENTS).is_file()


def checksums(paths: Iterable[Path]) -> dict[str, int]:
    """File name -> CRC-32 of its contents."""
    sums = {}
    for path in paths:
        value = 0
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                value = zlib.crc32(piece, value)
        sums[path.name] = value
    return sums


def folder_damage(path: Path) -> str:
    """What is wrong with a distributed checkpoint; empty if all of its files are there and have their checksums."""
    missing = [name for name in (CONTENTS, FACTS, SUMS) if not (path / name).is_file()]
    if missing:
        return f"{', '.join(missing)} is missing"
    try:
        expected = json.loads((path / SUMS).read_text(encoding="utf-8"))
        actual = checksums(path / name for name in expected)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    wrong = sorted(name for name in expected if actual[name] != expected[name])
    return f"wrong checksum: {', '.join(wrong)}" if wrong else ""


def read_facts(path: Path) -> dict[str, Any]:
    """Everything in the checkpoint but the tensors of model and optimizer, for which stand empty entries."""
    contents = torch.load(path / FACTS, map_location="cpu", weights_only=True)
    return {"state_dict": {}, "optimizer_states": [], **contents}


def read_folder(path: Path) -> dict[str, Any]:
    """As :func:`read_facts`, with the weights.

    Raises:
        CheckpointError: the folder's list of contents names something else than tensors and their offsets.
    """
    from torch.distributed.checkpoint import FileSystemReader, load

    class Reader(FileSystemReader):
        def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
            with (path / CONTENTS).open("rb") as file:
                return _Contents(file).load()

    reader = Reader(path)
    entries = reader.read_metadata().state_dict_metadata
    state: dict[str, Tensor] = {
        name.removeprefix(_STATE): torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in entries.items()
        if name.startswith(_STATE) and hasattr(entry, "properties")
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.distributed is disabled.*")  # which is what no_dist asks for
        load({"state_dict": state}, storage_reader=reader, no_dist=True)
    return read_facts(path) | {"state_dict": state}


class _Contents(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch":
            value = getattr(torch, name, None)
            if isinstance(value, torch.dtype) or value is torch.Size:
                return value
        elif name in _KNOWN.get(module, ()):
            return super().find_class(module, name)
        raise CheckpointError(f"the list of contents of a checkpoint names {module}.{name}, which is refused")
