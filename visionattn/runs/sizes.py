"""Rules for what a configuration leaves to be inferred: image sizes, batch, workers, drop path, precision.

Each rule is one sentence in ``docs/recipes.md``. Nothing here reads data.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from visionattn.errors import counted

MULTIPLE = 32
"""Sizes that are inferred are multiples of it: the coarsest map of most backbones has this stride."""
PHOTO = 224
"""Edge of the images that classification trains on, as ImageNet's, where the backbone's card says nothing larger."""
COCO_SHORT, COCO_LONG, COCO_SMALLEST = 800, 1333, 480
"""COCO's evaluation size, for images with a shorter edge of at least 480; smaller ones keep their own size."""
ADE_SHORT = 512
"""ADE20K's shorter edge and crop; smaller images keep their own size."""
PANOPTIC = 1024
"""Edge of the crops of large-scale jitter on COCO."""
MOST = {"classification": 128}
"""Task -> images of a batch, at most; 16 for the other tasks, over all processes, as their papers have it."""
MEMORY = 0.5
"""Share of the device's memory that a batch may fill by the estimate of :func:`bytes_per_image`."""
LEAST_STEPS = 8
"""Steps of an epoch at least, so that small data are not one batch."""
PAIR = 2
"""Images of a batch at least where there are as many: batch norm cannot normalize one cell of a single image."""
WORKERS = 8
"""Loader workers of a process at most."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Edges:
    """Sizes of images in detection and panoptic segmentation.

    Attributes:
        short: the shorter edge in evaluation.
        long: limit of the longer edge.
        training: shorter edges in training.
        canvas: edge of the square crops of large-scale jitter.
        crop: whether DETR's crops, made for COCO's sizes, are sensible.
    """

    short: int
    long: int
    training: tuple[int, ...]
    canvas: int
    crop: bool


def rounded(edge: float) -> int:
    """The nearest multiple of 32, 32 at least."""
    return max(MULTIPLE, round(edge / MULTIPLE) * MULTIPLE)


def classification_size(card: int | None, images: Size | None) -> tuple[int, str]:
    """Edge of square images, and how it came about.

    The larger of two: the size of the backbone's card, and that of the images, 224 at most.
    """
    own = min(PHOTO, rounded(min(images))) if images else (0 if card else PHOTO)
    if card and card >= own:
        return card, "the backbone's card"
    return own, f"images about {_words(images)}" if images else "usual for photographs"


def detection_edges(images: Size | None) -> tuple[Edges, str]:
    """Sizes for images of a typical (height, width), and how they came about: COCO's, or their own if smaller."""
    if images is None or min(images) >= COCO_SMALLEST:
        edges = tuple(range(COCO_SMALLEST, COCO_SHORT + 1, MULTIPLE))
        return Edges(COCO_SHORT, COCO_LONG, edges, PANOPTIC, True), "as for COCO"
    short = rounded(min(images))
    long = math.ceil(short * max(COCO_LONG / COCO_SHORT, 1.25 * max(images) / min(images)))
    training = tuple(round(short * factor) for factor in (0.8, 0.9, 1.0, 1.1, 1.2))
    return Edges(short, max(long, training[-1]), training, rounded(max(images)), False), _about(images)


def edges_within(size: Size) -> tuple[Edges, str]:
    """Sizes for images that are to fit into (height, width), the longer edge into the larger of the two."""
    short, long = min(size), max(size)
    training = tuple(min(round(short * factor), long) for factor in (0.8, 0.9, 1.0, 1.1, 1.2))
    return Edges(short, long, training, rounded(long), False), "of data.image_size"


def longer(short: int) -> int:
    """The limit of the longer edge for a shorter one, in COCO's proportion."""
    return math.ceil(short * COCO_LONG / COCO_SHORT)


def segmentation_edge(images: Size | None) -> tuple[int, str]:
    """The shorter edge and the crop, and how they came about: ADE20K's, or the images' own if smaller."""
    if images is None or min(images) >= ADE_SHORT:
        return ADE_SHORT, "as for ADE20K"
    return rounded(min(images)), _about(images)


def _about(images: Size | None) -> str:
    return f"images about {_words(images)}"


def _words(images: Size | None) -> str:
    return f"{images[0]}x{images[1]}" if images else "unknown size"


def drop_path_rate(params: int | None) -> tuple[float, str]:
    """Drop path for training from nothing by the size of the backbone, as the papers have it for theirs."""
    if params is None:
        return 0.1, "a backbone of unknown size"
    limits = ((10e6, 0.0), (25e6, 0.1), (40e6, 0.2), (70e6, 0.3))
    rate = next((rate for limit, rate in limits if params < limit), 0.5)
    return rate, f"{params / 1e6:.0f} M parameters"


def cpus() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers(processes: int) -> tuple[int, str]:
    """Loader workers of each process: its share of the cores, 8 at most."""
    cores = cpus()
    how = f"{counted(cores, 'core')}, {counted(processes, 'process', 'processes')}"
    return max(1, min(WORKERS, cores // max(processes, 1))), how


def uses_gpu(accelerator: str) -> bool:
    """Whether Lightning would train on a CUDA device."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def precision(accelerator: str) -> tuple[str, str]:
    """bf16 on a GPU that has it, else float32."""
    if not uses_gpu(accelerator):
        return "32-true", "no GPU"
    name = torch.cuda.get_device_name(0)
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed", f"{name} has bf16"
    return "32-true", f"{name} has no bf16"


def device_memory(accelerator: str) -> tuple[int, str]:
    """Bytes of memory of the device that trains, and its name."""
    if uses_gpu(accelerator):
        return torch.cuda.get_device_properties(0).total_memory, torch.cuda.get_device_name(0)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "this machine"


def bytes_per_image(rows: Mapping[str, Sequence[int]], size: Size, dense: bool, half: bool) -> float:
    """A rough, high estimate of what one image needs in training.

    Forty activations per channel and block, on maps of stride 4, 8, 16, ...; twice that with a head on all maps.

    Args:
        rows: ``dims`` and ``depths`` of the backbone.
        size: (height, width) of the image.
        dense: whether the task has a head on all maps.
        half: whether activations have 16 bits.
    """
    values = 0.0
    for stage, (dim, depth) in enumerate(zip(rows["dims"], rows["depths"], strict=True)):
        values += depth * dim * size[0] * size[1] / 4 ** (stage + 2)
    return values * 40 * (2 if half else 4) * (2 if dense else 1)


def batch_size(task: str, processes: int, images: int | None, fitting: float, device: str) -> tuple[int, str]:
    """Images of a batch per process, a power of two, and what decided.

    Args:
        task: one of ours, for the most.
        processes: that share it.
        images: of the training split; None: not known.
        fitting: images that fit in memory by the estimate.
        device: its name.
    """
    limits: dict[str, float] = {"usual for " + task: MOST.get(task, max(1, 16 // max(processes, 1)))}
    limits[f"half the memory of {device}"] = fitting
    if images is not None:
        share = images / max(processes, 1)
        if share < PAIR * LEAST_STEPS:
            limits[f"{images} images"] = min(share, PAIR)
        else:
            limits[f"{images} images, {LEAST_STEPS} steps an epoch"] = share / LEAST_STEPS
    how = min(limits, key=lambda name: limits[name])
    return 1 << (int(max(limits[how], 1)).bit_length() - 1), how
