"""Damaged trees of images and masks: one's own, and ADE20K's layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.corpus.cases import Case, adding
from tests.corpus.trees import labels

CASES: list[Case] = []
tree = adding(CASES, "image_mask")


def masks(root: Path) -> list[Path]:
    """All masks of a tree of one's own."""
    return sorted(root.glob("*/masks/*.png"))


def redrawn(root: Path, make: Callable[[np.ndarray], Image.Image], **options: Any) -> None:
    """Replace every mask by another picture of the same labels."""
    for path in masks(root):
        make(labels(int(path.stem))).save(path, **options)


@tree()
def healthy(root: Path) -> None:
    """Nothing is changed."""


@tree(kind="ade20k")
def healthy_ade20k(root: Path) -> None:
    """Nothing is changed."""


@tree(1, "(?i)(never|class)", words=("data.num_classes=2", "data.source.class_names=[background,object]"))
def object_is_255_which_is_ignored(root: Path) -> None:
    redrawn(root, lambda mask: Image.fromarray((255 * (mask > 0)).astype(np.uint8)))


@tree(1, "(?i)(class|label|value)", words=("data.num_classes=3",))
def labels_far_apart(root: Path) -> None:
    redrawn(root, lambda mask: Image.fromarray(mask * 100))


@tree()
def masks_of_4_bits(root: Path) -> None:
    def four(mask: np.ndarray) -> Image.Image:
        image = Image.fromarray(mask, "P")
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255] + [0] * 39)
        return image

    redrawn(root, four, bits=4)


@tree()
def masks_of_2_bits_gray(root: Path) -> None:
    for path in masks(root):
        write_gray_png(path, labels(int(path.stem)), 2)


@tree()
def masks_of_4_bits_gray(root: Path) -> None:
    for path in masks(root):
        write_gray_png(path, labels(int(path.stem)), 4)


def write_gray_png(path: Path, values: np.ndarray, bits: int) -> None:
    """A gray PNG of 1, 2 or 4 bits; Pillow does not write these."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    per = 8 // bits
    packed = np.zeros((height, -(-width // per)), np.uint8)
    for offset in range(per):
        column = values[:, offset::per]
        packed[:, : column.shape[1]] |= column << (8 - bits * (offset + 1))
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@tree()
def masks_with_a_palette(root: Path) -> None:
    def colored(mask: np.ndarray) -> Image.Image:
        image = Image.fromarray(mask, "P")
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        return image

    redrawn(root, colored)


@tree()
def masks_of_16_bits(root: Path) -> None:
    redrawn(root, lambda mask: Image.fromarray(mask.astype(np.uint16)))


@tree()
def masks_of_three_equal_channels(root: Path) -> None:
    redrawn(root, lambda mask: Image.fromarray(np.stack([mask] * 3, -1)))


@tree(1, "(?i)(color|channel|RGB)")
def masks_in_colors(root: Path) -> None:
    colors = np.array([[0, 0, 0], [200, 30, 30], [30, 200, 30]], np.uint8)
    redrawn(root, lambda mask: Image.fromarray(colors[mask]))


@tree()
def masks_in_colors_of_pascal_voc(root: Path) -> None:
    colors = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
    redrawn(root, lambda mask: Image.fromarray(colors[mask]))


@tree(1, "(?i)(jpe?g|mask)")
def masks_as_jpeg(root: Path) -> None:
    for path in masks(root):
        Image.fromarray(labels(int(path.stem)) * 120).save(path.with_suffix(".jpg"))
        path.unlink()


@tree()
def masks_with_a_capital_ending(root: Path) -> None:
    for path in masks(root):
        path.rename(path.with_suffix(".PNG"))


@tree()
def masks_named_mask(root: Path) -> None:
    for path in masks(root):
        path.rename(path.with_name(f"{path.stem}_mask.png"))


@tree(1, "(size|24)")
def masks_of_another_size(root: Path) -> None:
    redrawn(root, lambda mask: Image.fromarray(mask[::2, ::2].copy()))


@tree(1, "000")
def a_mask_is_missing(root: Path) -> None:
    (root / "train/masks/000.png").unlink()


@tree(says="")
def a_mask_too_many(root: Path) -> None:
    shutil.copy(root / "train/masks/000.png", root / "train/masks/777.png")


@tree(1, "masks")
def masks_folder_is_missing(root: Path) -> None:
    shutil.rmtree(root / "train/masks")


@tree(1, "(?i)(val|image)")
def val_is_empty(root: Path) -> None:
    for path in root.glob("val/*/*"):
        path.unlink()


@tree()
def hidden_folders(root: Path) -> None:
    for name in (".cache", "@eaDir", "__MACOSX"):
        for folder in ("images", "masks"):
            (root / "train" / folder / name).mkdir()
            (root / "train" / folder / name / "000.jpg").write_bytes(b"no image")
            (root / "train" / folder / name / "000.png").write_bytes(b"no image")


@tree(1, "(?i)(class|label|ignore)")
def everything_is_ignored(root: Path) -> None:
    redrawn(root, lambda mask: Image.fromarray(np.full_like(mask, 255)))


@tree(2, "num_classes", words=("data.num_classes=2",))
def fewer_classes_than_labels(root: Path) -> None:
    """Nothing is changed: the command is wrong."""


@tree(1, "000")
def a_mask_is_cut_off(root: Path) -> None:
    path = root / "train/masks/000.png"
    path.write_bytes(path.read_bytes()[:60])


@tree(1, "000")
def a_mask_is_text(root: Path) -> None:
    (root / "train/masks/000.png").write_text("no image")


@tree(1, "(not found|no folder|is no|not a folder|missing|does not exist)")
def root_does_not_exist(root: Path) -> None:
    shutil.rmtree(root)


@tree(1, "(?i)(label|class)", kind="ade20k")
def ade20k_label_beyond_its_classes(root: Path) -> None:
    for path in root.glob("annotations/*/*.png"):
        mask = labels(int(path.stem))
        Image.fromarray((mask + 200 * (mask > 0)).astype(np.uint8)).save(path)


@tree(1, "validation", kind="ade20k")
def ade20k_without_validation(root: Path) -> None:
    shutil.rmtree(root / "images/validation")


@tree()
def images_gray(root: Path) -> None:
    """The scene cannot be told by color, so that one image alone is gray, in training."""
    path = root / "train/images/000.jpg"
    with Image.open(path) as image:
        image.convert("L").save(path)


@tree()
def images_with_other_names(root: Path) -> None:
    """Spaces, accents and dots in the names of both."""
    for path in [*root.glob("*/images/*.jpg"), *root.glob("*/masks/*.png")]:
        path.rename(path.with_name(f"Fläche v1.2 {path.name}"))


@tree(says="val")
def val_is_called_valid(root: Path) -> None:
    (root / "val").rename(root / "valid")
