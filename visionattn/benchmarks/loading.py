"""Speed of the input pipeline beside timm's loader: the same files, the same augmentation, in one run."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_dataset, create_loader

from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import interleaved, medians
from visionattn.data import ClassificationData
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.classification.transforms import IMAGENET_MEAN, IMAGENET_STD, TrainTransform, fix_posterize
from visionattn.data.folders import visible_folders
from visionattn.errors import ConfigError

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
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure images per second and core from JPEG files to normalized batches on the device, ours and timm's.

    timm is measured with its prefetcher, which normalizes on the device as ours does, and without. Each loader uses one
    thread in each process.

    Args:
        root: a folder with ``train/<class>/<image>``; None: images of ImageNet's usual size are drawn first.
        recipes: names in :data:`RECIPES`.
        num_images: images drawn, a multiple of ``batch``.
        batch: images at a time.
        size: side of the images.
        workers: processes that decode; 0: the main process does everything, so the figure is that of one core.
        repeats: rounds; each loader runs one epoch in a round, and medians over rounds are reported.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the JSON and CSV files; None writes none.

    Raises:
        ConfigError: an unknown recipe, or fewer images than a batch.
    """
    _check_choices(recipes, num_images, batch)
    torch_device = choose_device(device)
    with _folder(root, num_images) as folder, _one_thread():
        workload = _Workload(folder, size, batch, workers, torch_device)
        rows = [row for recipe in recipes for row in _measure(workload, recipe, repeats)]
    _show(rows)
    settings = {"repeats": repeats, "root": "drawn, 500 x 375" if root is None else "given", "images": num_images}
    save(rows, output_dir, "loading", torch_device, settings)
    return rows


def _check_choices(recipes: Sequence[str], num_images: int, batch: int) -> None:
    unknown = sorted(set(recipes) - set(RECIPES))
    if unknown or not recipes:
        raise ConfigError(f"recipes are {', '.join(RECIPES)}; got {', '.join(unknown) or 'none'}")
    if num_images % batch:
        raise ConfigError(f"num_images={num_images} is no multiple of batch={batch}")


@dataclass(frozen=True)
class _Workload:
    """What every loader of a comparison is given, whatever the recipe."""

    folder: Path
    size: int
    batch: int
    workers: int
    device: torch.device


def _loaders(workload: _Workload, options: dict[str, Any]) -> dict[str, Callable[[], int]]:
    """Name to a function that runs one epoch and returns the number of images."""
    epochs: dict[str, Callable[[], int]] = {"visionattn": _our_loader(workload, options)}
    for name, prefetch in (("timm", True), ("timm without prefetcher", False)):
        loader = _timm_loader(workload, options | {"use_prefetcher": prefetch})
        epochs[name] = partial(_timm_epoch, loader, workload.device)
    return epochs


def _our_loader(workload: _Workload, options: dict[str, Any]) -> Callable[[], int]:
    count, device = len(visible_folders(workload.folder / "train")), workload.device
    ours = ClassificationData(
        ImageFolder(str(workload.folder)),
        count,
        workload.size,
        batch_size=workload.batch,
        num_workers=workload.workers,
        pin_memory=True,
        train_transform=partial(TrainTransform, decoder="torchvision", **options),
    )
    loader = ours.train_dataloader()

    def epoch() -> int:
        images = 0
        for data in loader:
            moved = {name: value for name, value in data.items() if name != "image"}
            moved |= {"image": data["image"].to(device, non_blocking=True)}
            moved["erased"] = [(*spot, pixels.to(device, non_blocking=True)) for *spot, pixels in data["erased"]]
            images += len(ours.to_model_input(moved)["image"])
        return images

    return epoch


def _timm_loader(workload: _Workload, options: dict[str, Any]) -> Any:
    loader = create_loader(
        create_dataset("", root=str(workload.folder / "train"), is_training=True),
        (3, workload.size, workload.size),
        workload.batch,
        is_training=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        num_workers=workload.workers,
        device=workload.device,
        pin_memory=workload.device.type == "cuda",
        persistent_workers=workload.workers > 0,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        **options,
    )
    fix_posterize(loader.dataset.transform)  # else Pillow 13 ends timm's epoch at the first posterize of no bits
    return loader


def _timm_epoch(loader: Any, device: torch.device) -> int:
    return sum(len(images.to(device, non_blocking=True)) for images, _ in loader)


def _measure(workload: _Workload, recipe: str, repeats: int) -> list[Row]:
    epochs = _loaders(workload, RECIPES[recipe])
    # the first epoch starts workers and fills the disk cache
    images = {name: epoch() for name, epoch in epochs.items()}
    seconds = medians(interleaved(epochs, repeats, workload.device))
    cores = max(1, workload.workers)
    rates = {name: images[name] / seconds[name] / cores for name in epochs}
    best = max(rate for name, rate in rates.items() if name != "visionattn")
    facts = {"recipe": recipe, "size": workload.size, "batch": workload.batch, "workers": workload.workers}
    return [
        facts | {"loader": name, "images_per_second_and_core": rate, "times_best_timm": rate / best}
        for name, rate in rates.items()
    ]


@contextmanager
def _folder(root: str | None, num_images: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="visionattn-") if root is None else nullcontext(root) as name:
        folder = Path(name)
        if root is None:
            for number in range(num_images):
                path = folder / "train" / ("odd" if number % 2 else "even") / f"{number:04d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(draw_jpeg(number))
        yield folder


def draw_jpeg(seed: int, width: int = 500, height: int = 375, quality: int = 90) -> bytes:
    """A JPEG that costs a decoder as much as a photograph: noise with the spectrum of images (Field 1987), 4:2:0."""
    random = np.random.RandomState(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = 1 / np.maximum(np.hypot(rows, columns), 1 / max(width, height))
    phases = np.exp(2j * np.pi * random.rand(3, *spectrum.shape))
    waves = np.fft.irfft2(spectrum * phases, (height, width))
    gray = waves[:1] / waves[0].std()
    colors = gray + 0.4 * waves / waves.std((1, 2), keepdims=True)
    pixels = np.clip(120 + 45 * colors, 0, 255).astype(np.uint8).transpose(1, 2, 0)
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
    cells = (
        [
            *(str(row[name]) for name in ("recipe", "size", "batch", "workers", "loader")),
            f"{row['images_per_second_and_core']:.0f}",
            f"{row['times_best_timm']:.2f}",
        ]
        for row in rows
    )
    show(("recipe", "size", "batch", "workers", "loader", "img/s per core", "x best timm"), cells)
