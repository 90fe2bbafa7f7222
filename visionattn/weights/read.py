"""Reading checkpoint files without executing anything in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from visionattn.errors import CheckpointError
from visionattn.files import near_file
from visionattn.weights.distributed import is_distributed, read_facts, read_folder
from visionattn.weights.inert import inert_objects

StateDict = dict[str, Tensor]

_DAMAGED = (SafetensorError, RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError)
_HEAD, _TEXT = 256, frozenset((9, 10, 13, *range(32, 127)))
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SAFETENSORS, _LONGEST_HEADER = 8, 10**8
_KINDS = {
    b"\xff\xd8\xff": "is a JPEG image",
    b"\x89PNG": "is a PNG image",
    b"GIF8": "is a GIF image",
    b"RIFF": "is a WebP image or a sound",
    b"II*\x00": "is a TIFF image",
    b"MM\x00*": "is a TIFF image",
    b"%PDF": "is a PDF document",
    b"\x1f\x8b": "is a gzip archive",
    b"7z": "is a 7z archive",
    b"\x89HDF": "is an HDF5 file, as Keras writes them",
    b"\x93NUMPY": "is an array of NumPy",
}
"""First bytes of files that are mistaken for checkpoints, and what they are."""
_NAMED = re.compile(r"GLOBAL (\S+)")


def read_checkpoint(path: str | Path, file: BinaryIO | None = None, weights: bool = True) -> dict[str, Any]:
    """The contents of a checkpoint: tensors and plain values only, on the CPU.

    It may be a ``.safetensors`` file, a torch checkpoint, or a folder with a distributed one, which is read without the
    optimizer's state.

    Args:
        path: the file or folder.
        file: the file, where it is open already; it is read from its beginning and left open.
        weights: False: of a folder, everything but its tensors.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than tensors and plain values.
    """
    path = Path(path)
    if not (path.is_file() or is_distributed(path)):
        raise CheckpointError(_nothing_at(path))
    try:
        if path.is_dir():
            contents = read_folder(path) if weights else read_facts(path)
        else:
            with nullcontext(file) if file else path.open("rb") as source:
                check_beginning(path, source)
                if is_safetensors(source):
                    return load_file(path)
                _check_archive(path, source)
                source.seek(0)
                with warnings.catch_warnings(), inert_objects():  # of the protocol of pickles that others wrote
                    warnings.simplefilter("ignore", UserWarning)
                    contents = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _NAMED.search(str(error))
        raise CheckpointError(
            f"{path} is refused: it holds more than tensors and plain values"
            f"{f' ({named[1]})' if named else ''}. A checkpoint can run code when it is read; save the weights alone, "
            "best as .safetensors"
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {_first_line(error)}") from error
    if not isinstance(contents, Mapping):
        raise CheckpointError(f"{path} holds a {type(contents).__name__}, not a dictionary of weights")
    _check_entries(path, contents)
    return dict(contents)


def _nothing_at(path: Path) -> str:
    if not path.is_dir():
        return f"there is no checkpoint at {path}{near_file(path)}"
    held = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
    exported = f"; an export is given as weights={path}" if (path / "model.safetensors").is_file() else ""
    return f"there is no checkpoint at {path}: the folder has no checkpoints/best.ckpt, it holds {held}{exported}"


def is_safetensors(file: BinaryIO) -> bool:
    """Whether an open file is one of safetensors, whatever its name: a length, and a header of JSON."""
    file.seek(0)
    head = file.read(_SAFETENSORS + 1)
    return head[_SAFETENSORS:] == b"{" and int.from_bytes(head[:_SAFETENSORS], "little") < _LONGEST_HEADER


def check_beginning(path: Path, file: BinaryIO) -> None:
    """Say what a file is that is mistaken for a checkpoint.

    Raises:
        CheckpointError: it is empty, a pointer of git-lfs, a page of a server, another text, or of a kind that its
            first bytes tell: an image, an archive, another program's model.
    """
    file.seek(0)
    head = file.read(_HEAD)
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes): its download or its copy was cut off")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a pointer of git-lfs, not the file itself: run `git lfs pull` where it lies")
    if head.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a page of a web server, not a checkpoint: download the file itself")
    if all(byte in _TEXT for byte in head):
        raise CheckpointError(
            f"{path} is a text file, not a checkpoint; of a run give the folder, or checkpoints/best.ckpt in it"
        )
    if not (head.startswith((_ZIP, _PICKLE)) or is_safetensors(file)):
        kind = next((kind for start, kind in _KINDS.items() if head.startswith(start)), "")
        kind = kind or ("is a graph for other programs" if path.suffix.lower() == ".onnx" else "")
        told = kind or f"begins with the bytes {head[:4].hex(' ')}"
        raise CheckpointError(
            f"{path} {told}, it is no checkpoint: those are files of torch (.ckpt, .pth, .bin) or .safetensors"
        )


def _check_archive(path: Path, source: BinaryIO) -> None:
    """A torch file is an archive of stored records; one with names that climb, or that unpacks to more, is not torch's.

    Raises:
        CheckpointError: names leading out of a folder, or compressed entries.
    """
    source.seek(0)
    if not zipfile.is_zipfile(source):
        source.seek(0)
        if source.read(len(_ZIP)) == _ZIP:
            size = source.seek(0, 2)
            raise CheckpointError(
                f"{path} has no end: its {size:,} bytes begin as a checkpoint of torch and were cut off; copy or "
                "download it again"
            )
        return
    try:
        entries = zipfile.ZipFile(source).infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {_first_line(error)}") from error
    for entry in entries:
        if ".." in entry.filename.replace("\\", "/").split("/") or entry.filename.startswith(("/", "\\")):
            raise CheckpointError(f"{path} is refused: its entry {entry.filename!r} points outside its folder")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{path} is refused: its entry {entry.filename!r} is compressed ({entry.compress_size} bytes unpack to "
                f"{entry.file_size}), which torch never writes"
            )


def _check_entries(path: Path, contents: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that name a function.

    Raises:
        CheckpointError: the name of a function that Lightning would call on loading.
    """
    for name in ("hyper_parameters", "datamodule_hyper_parameters"):
        given = contents.get(name)
        if isinstance(given, Mapping) and "_instantiator" in given:
            raise CheckpointError(
                f"{path} is refused: {name}._instantiator={given['_instantiator']!r} names a function to call when "
                "it is loaded; save the weights alone, best as .safetensors"
            )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
