"""Images inside tar files, found and read by timm's reader."""

import os
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from timm.data.readers.reader_image_in_tar import ReaderImageInTar, TarState

from visionattn.data.decode import decode_rgb
from visionattn.data.records import PackedStrings
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError


class TarRecords:
    """One tar of class folders, or a folder of tars, one per class. Ids: the tar's place, then the member's name."""

    def __init__(self, path: Path, prefix: str) -> None:
        try:
            self._reader = ReaderImageInTar(str(path))
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{path} cannot be read as tar: {error}") from None
        except ValueError as error:  # timm unpacks an empty list of samples
            raise DataError(f"no images in {path}: {error}") from None
        self._pid = os.getpid()
        self.ids = PackedStrings(
            f"{prefix}/{tar}/{member.name}" if tar else f"{prefix}/{member.name}"
            for member, tar, _ in self._reader.samples
        )
        self.labels = np.asarray(self._reader.targets, dtype=np.int64)
        names = self._reader.class_idx_to_name
        self.class_names = [names[label] for label in range(len(names))]

    def load(self, index: int) -> Image.Image:
        self._own_files()
        try:
            member, _ = self._reader[index]
            data = member.read()
        except (OSError, tarfile.TarError, EOFError) as error:
            raise UnreadableImage(f"cannot be read from its tar file: {error}") from None
        return decode_rgb(data)

    def _own_files(self) -> None:
        """Forgets open files inherited through a fork: two processes would move one file position."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        state = self._reader.tar_state
        for tar in [state] if isinstance(state, TarState) else state.values():
            tar.reset()
            for child in tar.children.values():
                child.reset()

    def content_digest(self) -> bytes:
        return b""
