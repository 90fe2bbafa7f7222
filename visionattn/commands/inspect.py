"""``visionattn inspect``: what a model sees in a user's own images, as pictures, numbers and a page."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning import seed_everything
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from visionattn.analysis.choosing import as_points, choose
from visionattn.analysis.files import write_files
from visionattn.analysis.inspection import CAUTION, Inspection, Wanted, as_measures, check_task, inspect_image
from visionattn.analysis.page import write_page
from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.data.decode import DecodedImage, as_image
from visionattn.data.user_images import UserImage, find_images
from visionattn.errors import ConfigError, DataError, counted
from visionattn.files import write_whole
from visionattn.runs.predictions import writing
from visionattn.runs.reading import ReadImages
from visionattn.runs.table import print_results
from visionattn.runs.user_model import on_device, output_folder, user_model
from visionattn.training.task import VisionTask

Chosen = TypeVar("Chosen")
_WIDTH = 80


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Inspect images: a folder of pictures and numbers for each, ``inspection.json`` and ``report.html``.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``images``, counted, and ``folder``; empty for a dry run.

    Raises:
        CheckpointError: an unusable checkpoint.
        ConfigError: no such point, stage, block, head, measure or prediction, or the folder holds something.
        DataError: no image at the source, or one that cannot be read.
    """
    seed_everything(0, verbose=False)
    measures = as_measures(plain(cfg.measures))
    points = _checked(lambda: as_points(plain(cfg.points)))
    if isinstance(cfg.images, bool) or not isinstance(cfg.images, int) or cfg.images < 1:
        raise ConfigError(f"images is a whole number from 1 on, got {cfg.images}")
    folder = output_folder(cfg, run_dir)
    limits = {"timeout": cfg.timeout, "megabytes": cfg.megabytes}
    images = find_images(plain(cfg.source), without=folder, **limits)
    task, data, model = user_model(cfg, policy, "inspect", untrained=True)
    check_task(task)
    choice = _checked(lambda: choose(task, plain(cfg.stages), plain(cfg.blocks), plain(cfg.heads)))
    wanted = Wanted(points, choice, measures, plain(cfg.target))
    _tell(cfg, len(images))
    decoded = _read(images[: cfg.images], data)
    if dry_run:
        print_results("dry run: the model can be built and the images be read", {"images": len(decoded)})
        return {}
    on_device(task, cfg.device)
    with writing(folder):
        inspections, page = _inspect(task, data, decoded, wanted, folder, {"model": model, "command": command})
    return _report(inspections, folder, page)


def _inspect(
    task: VisionTask,
    data: Any,
    decoded: Sequence[tuple[UserImage, DecodedImage]],
    wanted: Wanted,
    folder: Path,
    facts: dict[str, str],
) -> tuple[list[Inspection], Path]:
    """Inspect every image and write all files; what was found, and the page."""
    inspections, records = [], []
    for name, (image, pixels) in zip(_names([image for image, _ in decoded]), decoded, strict=True):
        seen = check_task(task).inspected_image(pixels, data)
        found = inspect_image(task, seen, _picture(seen, data), name, wanted)
        records.append({"source": image.origin} | write_files(found, folder / name))
        inspections.append(found)
    contents = facts | {"caution": CAUTION, "images": records}
    write_whole(folder / "inspection.json", json.dumps(contents, indent=1) + "\n")
    return inspections, write_page(folder, inspections, **facts)


def _checked(choose_: Callable[[], Chosen]) -> Chosen:
    """What a function of the analysis gives; its complaint is one about the configuration.

    Raises:
        ConfigError: it complains.
    """
    try:
        return choose_()
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _tell(cfg: DictConfig, found: int) -> None:
    """Say on stderr what a person would not expect."""
    if cfg.ckpt is None and cfg.weights is None:
        print(
            f"visionattn: warning: {cfg.backbone_name} has random weights, so that its attention means nothing; "
            "weights=timm or weights=<file> loads trained ones",
            file=sys.stderr,
        )
    if found > cfg.images:
        print(f"the first {cfg.images} of {found:,} images are inspected; images={found} takes all", file=sys.stderr)


def _read(images: Sequence[UserImage], data: Any) -> list[tuple[UserImage, DecodedImage]]:
    """The images, decoded.

    Raises:
        DataError: one cannot be read.
    """
    reader = ReadImages(images, data, batch_size=1)
    decoded = [pair for batch in reader for pair in batch]
    for image, reason in reader.unreadable:
        raise DataError(f"{image.origin} cannot be read: {reason}")
    return decoded


def _picture(seen: Tensor, data: Any) -> Image.Image:
    """What the network sees, ``(1, C, H, W)``, as an image to draw on."""
    mean, std = (torch.tensor(list(values), device=seen.device)[:, None, None] for values in (data.mean, data.std))
    return as_image((255 * (seen[0] * std + mean)).round().clamp(0, 255).to(torch.uint8).cpu())


def _names(images: Sequence[UserImage]) -> list[str]:
    """A folder for each image: its name without the suffix, where that is no other's."""
    short = [image.name.rpartition(".")[0] or image.name for image in images]
    return [
        image.name.replace(".", "_") if short.count(name) > 1 else name
        for name, image in zip(short, images, strict=True)
    ]


def _report(inspections: Sequence[Inspection], folder: Path, page: Path) -> dict[str, Any]:
    """Print what came out, and return it."""
    first = inspections[0]
    facts: dict[str, Any] = {"images": len(inspections), "points": len(first.wanted.points)}
    if first.maps:
        facts["attention of"] = counted(len({(one.stage, one.block) for one in first.maps}), "block")
    for found in inspections:
        if found.scored is not None:
            facts[found.name] = found.scored.about
        for note in found.notes:
            facts[f"{found.name}, note"] = note
    for field in first.fields:
        facts[f"field of {field.stage}"] = (
            f"{field.theoretical_area:.1%} of the image, 95 % of the effect from {field.effective_area:.1%}"
        )
    outputs = {"page": page, "numbers": folder / "inspection.json", "pictures": folder / first.name}
    print_results("inspection", facts, outputs)
    print("\n".join(textwrap.wrap(CAUTION, _WIDTH)))
    return {"images": len(inspections), "folder": str(folder)}
