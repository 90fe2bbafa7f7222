"""What a source of labeled images gives once it is read, by index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, overload, runtime_checkable

import numpy as np

from visionattn.data.decode import DecodedImage, decode_rgb
from visionattn.data.decoding import Decoding
from visionattn.errors import ConfigError, DataError

Decoder = Callable[[bytes], DecodedImage]


class PackedStrings(Sequence[str]):
    """A sequence of strings, stored in two arrays.

    Reading a Python string writes its reference count, so a list of a million strings is copied, page by page, into
    every worker process. Arrays stay shared.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        encoded = [text.encode() for text in strings]
        self._ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        start = int(self._ends[position - 1]) if position else 0
        return self._bytes[start : int(self._ends[position])].tobytes().decode()


class SplitRecords(Protocol):
    """One split of a data set, read."""

    decoding: Decoding
    """How its files become images; the data module sets it."""

    @property
    def class_names(self) -> list[str]:
        """Names in label order; empty where the data set has none."""


@runtime_checkable
class StoredImages(Protocol):
    """Records whose images are contents of files."""

    def image_bytes(self, index: int) -> bytes:
        """The content of one image's file.

        Raises:
            UnreadableImage: it cannot be read.
        """


R_co = TypeVar("R_co", covariant=True)


class Source(Protocol[R_co]):
    """A data set on disk. Building one reads nothing; ``open`` reads one split."""

    def open(self, split: str) -> R_co:
        """Records of ``train``, ``val`` or ``test``."""


def build_source(source: Source[R_co] | Callable[..., Source[R_co]], root: str | None) -> Source[R_co]:
    """A source, made of its factory where a root is given.

    Raises:
        ConfigError: it is not what ``root`` asks for.
    """
    if root is None and hasattr(source, "open"):
        return source
    if root is not None and callable(source):
        return source(root=root)
    wanted = "a finished source" if root is None else "a factory (_partial_: true), since root is given"
    raise ConfigError(f"source must be {wanted}, got {type(source).__name__}")


class Records(SplitRecords, Protocol):
    """One split of labeled images, by index."""

    ids: PackedStrings
    """Stable sample ids, the same on every machine (relative paths, mostly)."""
    labels: np.ndarray
    """int64 ``(num_samples,)``."""

    def load(self, index: int, decode: Decoder = decode_rgb) -> DecodedImage:
        """One image, made by ``decode`` from the file's content where there is a file.

        Raises:
            UnreadableImage: it cannot be decoded.
        """

    def content_digest(self) -> bytes:
        """Bytes that identify the pixels where that is cheap, else empty; part of the fingerprint."""


@runtime_checkable
class RestrictedRecords(Protocol):
    """Records of a test set that has only some of a model's classes."""

    class_subset: list[int] | None
    """Labels that the data set has; None: all."""


@runtime_checkable
class ScoredRecords(Protocol):
    """Records of a test set with metrics of its own."""

    def scores(self, predictions: Mapping[str, int]) -> dict[str, float]:
        """Name -> value (in percent, or a count), from the class predicted for every sample id."""


def fingerprint(records: Records) -> str:
    """sha256 over ordered ids and labels, and over the pixels where the source gives them, hexadecimal."""
    digest = hashlib.sha256()
    for sample_id, label in zip(records.ids, records.labels.tolist(), strict=True):
        digest.update(f"{sample_id}\t{label}\n".encode())
    digest.update(records.content_digest())
    return digest.hexdigest()


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Check the range of labels.

    Raises:
        DataError: a label lies outside 0..num_classes-1.
    """
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise DataError(
            f"{where}: labels run from {int(labels.min())} to {int(labels.max())}, expected 0..{num_classes - 1}"
        )
