"""Images inside tar files, listed by timm's reader."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from timm.data.readers.reader_image_in_tar import ReaderImageInTar

from visionattn.data.decode import DecodedImage, decode_rgb
from visionattn.data.decoding import AS_STORED, Decoding
from visionattn.data.records import Decoder, PackedStrings
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError


class TarRecords:
    """One tar of class folders, or a folder of tars, one per class.

    The offsets of the members are read once. An image is then a seek and a read in a file opened for it, so worker
    processes share nothing (timm keeps files open, whose position forked workers would move for each other).

    Args:
        path: the tar file or the folder.
        prefix: beginning of the ids, which are the tar's path and the member's name.
    """

    decoding: Decoding = AS_STORED
    told: Sequence[str] = ()

    def __init__(self, path: Path, prefix: str) -> None:
        try:
            reader = ReaderImageInTar(str(path), cache_tarfiles=False)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{path} cannot be read as tar: {error}") from None
        except ValueError as error:  # timm unpacks an empty list of samples
            raise DataError(f"no images in {path}: {error}") from None
        self._files: list[Path] = []
        spans: list[tuple[int, int, int]] = []
        names: list[str] = []
        numbers: dict[str | None, int] = {}
        for member, tar, inner in reader.samples:  # inner: the entry of a tar inside the tar
            if tar not in numbers:
                numbers[tar] = len(self._files)
                self._files.append(path / tar if tar else path)
            start = member.offset_data + (inner.offset_data if inner is not None else 0)
            spans.append((numbers[tar], start, member.size))
            names.append("/".join(part for part in (prefix, tar, inner and inner.name, member.name) if part))
        self._spans = np.array(spans, dtype=np.int64)
        self.ids = PackedStrings(names)
        self.labels = np.asarray(reader.targets, dtype=np.int64)
        self.class_names = [reader.class_idx_to_name[label] for label in range(len(reader.class_idx_to_name))]

    def load(self, index: int, decode: Decoder = decode_rgb) -> DecodedImage:
        return decode(self.image_bytes(index))

    def image_bytes(self, index: int) -> bytes:
        number, start, size = (int(value) for value in self._spans[index])
        try:
            with open(self._files[number], "rb") as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise UnreadableImage(f"its tar file cannot be opened: {error.strerror}") from None

    def content_digest(self) -> bytes:
        return b""
