"""Tensors of a batch as images again, and the sheet of the first training batch.

Shapes: C channels, H W image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

Tile = tuple[Image.Image, str]
"""An image and its caption."""

EDGE = 360
"""Pixels of an image on a sheet."""


def as_image(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Image.Image:
    """A normalized image ``(C, H, W)`` as RGB; of more than three channels the first three, of one or two the first."""
    shift, scale = (torch.tensor(list(values)).view(-1, 1, 1) for values in (mean, std))
    plain = (pixels.detach().float().cpu() * scale + shift).clamp(0, 1).mul(255).round().byte()
    plain = plain[:3] if len(plain) >= 3 else plain[:1].expand(3, -1, -1)
    return Image.fromarray(np.ascontiguousarray(plain.permute(1, 2, 0).numpy()))


_told: set[str] = set()


@contextmanager
def undrawn_explained(what: str) -> Iterator[None]:
    """Let a run go on where something for its report fails inside the block; one line says so, once.

    Args:
        what: that which does not happen, as a sentence begins: ``no {what}``.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a picture fails at, hours of training are worth more
        if what not in _told:
            _told.add(what)
            told = f"no {what}: {type(error).__name__}: {error}"
            Console(stderr=True).print(told, highlight=False, markup=False, soft_wrap=True)


def warn_undrawn(folder: Path, error: OSError) -> None:
    """Print one line that pictures could not be written; a run goes on without them."""
    Console(stderr=True).print(
        f"no pictures in {folder}: {error.strerror or error}", highlight=False, markup=False, soft_wrap=True
    )


def caption_of(batch: dict[str, Any], index: int) -> str:
    """The name of a sample of a batch without its folders."""
    return str(batch["id"][index]).rpartition("/")[2]
