"""Speed of the input pipeline beside timm's loader: the same files, the same augmentation, in one run."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from timm.data import create_dataset, create_loader

from visionattn.benchmarks import record
from visionattn.benchmarks.timing import interleaved, medians
from visionattn.data import ClassificationData
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.classification.sources.image_folder import class_folders
from visionattn.data.classification.transforms import IMAGENET_MEAN, IMAGENET_STD, TrainTransform, mend_posterize
from visionattn.errors import ConfigError

Row = dict[str, Any]

PLAIN = {"color_jitter": None, "auto_augment": None, "re_prob": 0.0, "interpolation": "bicubic"}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "deit": PLAIN | {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25, "re_mode": "pixel"},
}
"""Random resized crop and flip; and what DeiT, Swin and most recipes of these backbones add."""


def run_loading(
    root: str | None = None,
    recipes: Sequence[str] = tuple(RECIPES),
    num_images: int = 256,
    batch: int = 64,
    size: int = 224,
    workers: int = 0,
    repeats: int = 5,
    device: str | None = None,
    output_dir: str | Path | None = "benchmarks/results",
) -> list[Row]:
    """Images per second and core from JPEG files to normalised float batches on the device, ours and timm's.

    timm is measured with its prefetcher, which normalises on the device as we do, and without. Each loader uses one
    thread in each process.

    Args:
        root: a folder with ``train/<class>/<image>``; None: images of ImageNet's usual size are drawn first.
        recipes: names in :data:`RECIPES`.
        num_images: images drawn, a multiple of ``batch``.
        batch: images at a time.
        size: side of the pictures.
        workers: processes that decode; 0: the main one does everything, so that the figure is that of one core.
        repeats: rounds; in each, every loader gives one epoch, and medians over rounds are given.
        device: ``cpu`` or ``cuda``; None: cuda where there is one.
        output_dir: where JSON and CSV go; None writes none.
    Raises:
        ConfigError: an unknown recipe, or fewer images than a batch.
    """
    unknown = sorted(set(recipes) - set(RECIPES))
    if unknown or not recipes:
        raise ConfigError(f"recipes are {', '.join(RECIPES)}; got {', '.join(unknown) or 'none'}")
    if num_images % batch:
        raise ConfigError(f"num_images={num_images} is no multiple of batch={batch}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rows: list[Row] = []
    with _folder(root, num_images) as folder, _one_thread():
        for recipe in recipes:
            facts = {"recipe": recipe, "size": size, "batch": batch, "workers": workers}
            rows += _measure(_loaders(folder, RECIPES[recipe], batch, size, workers, place), facts, repeats, place)
    _show(rows)
    if output_dir is not None:
        settings = {"repeats": repeats, "root": "drawn, 500 x 375" if root is None else "given", "images": num_images}
        for path in record.write(rows, Path(output_dir), "loading", place, settings):
            Console().print(f"  rows: [cyan]{path}[/cyan]", soft_wrap=True)
    return rows


def _loaders(
    folder: Path, options: dict[str, Any], batch: int, size: int, workers: int, device: torch.device
) -> dict[str, Callable[[], int]]:
    """Name -> a function that goes through one epoch and gives the number of images."""
    count = len(class_folders(folder / "train"))
    ours = ClassificationData(
        ImageFolder(str(folder)),
        count,
        size,
        batch_size=batch,
        num_workers=workers,
        pin_memory=True,
        train_transform=partial(TrainTransform, decoder="torchvision", **options),
    )
    own = ours.train_dataloader()
    theirs = {
        name: create_loader(
            create_dataset("", root=str(folder / "train"), is_training=True),
            (3, size, size),
            batch,
            is_training=True,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            num_workers=workers,
            use_prefetcher=prefetch,
            device=device,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            scale=(0.08, 1.0),
            ratio=(3 / 4, 4 / 3),
            hflip=0.5,
            **options,
        )
        for name, prefetch in (("timm", True), ("timm without prefetcher", False))
    }
    for loader in theirs.values():
        mend_posterize(loader.dataset.transform)  # else Pillow 13 ends timm's epoch at the first posterize of no bits

    def our_epoch() -> int:
        images = 0
        for data in own:
            moved = {name: value for name, value in data.items() if name != "image"}
            moved |= {"image": data["image"].to(device, non_blocking=True)}
            moved["erased"] = [(*spot, pixels.to(device, non_blocking=True)) for *spot, pixels in data["erased"]]
            images += len(ours.to_model_input(moved)["image"])
        return images

    def their_epoch(loader: Any) -> int:
        return sum(len(images.to(device, non_blocking=True)) for images, _ in loader)

    return {"visionattn": our_epoch} | {name: partial(their_epoch, loader) for name, loader in theirs.items()}


def _measure(epochs: dict[str, Callable[[], int]], facts: Row, repeats: int, device: torch.device) -> list[Row]:
    images = {
        name: epoch() for name, epoch in epochs.items()
    }  # the first epoch starts workers and fills the disk cache
    seconds = medians(interleaved(epochs, repeats, device))
    cores = max(1, facts["workers"])
    rates = {name: images[name] / seconds[name] / cores for name in epochs}
    best = max(rate for name, rate in rates.items() if name != "visionattn")
    return [
        facts | {"loader": name, "images_per_second_and_core": rate, "times_best_timm": rate / best}
        for name, rate in rates.items()
    ]


@contextmanager
def _folder(root: str | None, num_images: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="visionattn-") if root is None else nullcontext(root) as name:
        folder = Path(name)
        if root is None:
            (folder / "train" / "drawn").mkdir(parents=True)
            for number in range(num_images):
                (folder / "train" / "drawn" / f"{number:04d}.jpg").write_bytes(draw_jpeg(number))
        yield folder


def draw_jpeg(seed: int, width: int = 500, height: int = 375, quality: int = 90) -> bytes:
    """A JPEG like a photograph to its decoder: noise whose amplitude falls with the frequency (Field 1987), 4:2:0."""
    random = np.random.RandomState(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = 1 / np.maximum(np.hypot(rows, columns), 1 / max(width, height))
    phases = np.exp(2j * np.pi * random.rand(3, *spectrum.shape))
    waves = np.fft.irfft2(spectrum * phases, (height, width))
    grey = waves[:1] / waves[0].std()
    colours = grey + 0.4 * waves / waves.std((1, 2), keepdims=True)
    pixels = np.clip(120 + 45 * colours, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _show(rows: list[Row]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("recipe", "size", "batch", "workers", "loader", "img/s per core", "x best timm"):
        table.add_column(heading, justify="left" if heading in ("recipe", "loader") else "right")
    for row in rows:
        table.add_row(
            row["recipe"],
            *(str(row[name]) for name in ("size", "batch", "workers")),
            row["loader"],
            f"{row['images_per_second_and_core']:.0f}",
            f"{row['times_best_timm']:.2f}",
        )
    Console().print(table)
