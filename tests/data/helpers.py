"""Small trees of images for the tests of this folder."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(seed: int, size: tuple[int, int] = (40, 32)) -> bytes:
    coarse = np.random.RandomState(seed).randint(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def closing(dataset):
    """timm's ImageDataset, whose reader leaves every file open, with one that does not."""
    dataset.reader = _Closing(dataset.reader)
    return dataset


class _Closing:
    def __init__(self, reader):
        self._reader = reader

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def __len__(self):
        return len(self._reader)

    def __getitem__(self, index):
        file, target = self._reader[index]
        with file:
            return io.BytesIO(file.read()), target


def make_tree(root: Path, splits: dict[str, int], classes: tuple[str, ...] = ("ant", "bee", "cat")) -> Path:
    """root/<split>/<class>/<number>.jpg with so many images per class."""
    for split, count in splits.items():
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.jpg").write_bytes(jpeg(1000 * label + number + 77 * len(split)))
    return root
