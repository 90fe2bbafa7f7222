"""Shears and translations of timm's automatic augmentations, row by row: what Pillow computes pixel by pixel.

A shear or a translation moves every row (or column) as a whole, so one dimension of Pillow's interpolation in two is
no interpolation. The pictures are Pillow's, but for single values that differ by one level, because they are computed
in float32 instead of float64.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment

_ALMOST = 2e-3
"""Pillow cuts decimals off; sums of weights that should be whole numbers must not fall below them."""


def mend_shears(transform: Any) -> None:
    """Replaces timm's shears and translations inside a composed transform, in place."""
    for step in transform.transforms:
        groups = [getattr(step, "ops", []), *getattr(step, "policy", [])]
        for op in (op for group in groups for op in group):
            op.aug_fn = _OURS.get(op.aug_fn, op.aug_fn)


def slide(picture: Image.Image, slope: float, shift: float, columns: bool, fill: Sequence[int]) -> Image.Image:
    """The picture (RGB) whose row y shows what stood ``slope * (y + 1/2) + shift`` pixels further right, or, with
    ``columns``, whose column x shows what stood so much further down; bicubic.
    """
    if columns:
        turned = slide(picture.transpose(Image.Transpose.TRANSPOSE), slope, shift, False, fill)
        return turned.transpose(Image.Transpose.TRANSPOSE)
    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    moved = slope * (np.arange(height) + 0.5) + shift
    whole = np.floor(moved)
    near = _neighbours(pixels, np.clip(whole, -width - 2, width + 2).astype(np.int64))
    part = torch.from_numpy((moved - whole).astype(np.float32))[:, None]
    total = torch.full((height, 3 * width), _ALMOST)
    for tap, weight in enumerate(_weights(part)):
        total.addcmul_(near[:, 3 * tap : 3 * (tap + width)], weight)
    made = total.clamp_(0, 255).to(torch.uint8).view(height, width, 3).numpy()
    first, end = np.ceil(-0.5 - moved)[:, None], np.ceil(width - 0.5 - moved)[:, None]
    places = np.arange(width, dtype=np.int32)
    reach = 2 * width + 2
    seen_from, seen_to = (np.clip(edge, -reach, reach).astype(np.int32) for edge in (first, end))
    made[(places < seen_from) | (places >= seen_to)] = np.array(fill, dtype=np.uint8)
    return Image.fromarray(made)


def _neighbours(pixels: np.ndarray, starts: np.ndarray) -> torch.Tensor:
    """float32 (H, 3 * (W + 3)): of each row what begins one pixel before its start; edges repeat."""
    height, width = pixels.shape[:2]
    reach = int(np.abs(starts).max()) + 3
    wide = np.empty((height, width + 2 * reach, 3), np.uint8)
    wide[:, reach : reach + width] = pixels
    wide[:, :reach] = pixels[:, :1]
    wide[:, reach + width :] = pixels[:, -1:]
    windows = np.lib.stride_tricks.sliding_window_view(wide.reshape(height, -1), 3 * (width + 3), axis=1)
    return torch.from_numpy(windows[np.arange(height), 3 * (starts + reach - 1)]).float()


def _weights(d: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of the pixels at -1, 0, 1, 2: Keys' kernel with a = -1, which is Pillow's in transformations."""
    return d * (-1 + d * (2 - d)), 1 + d * d * (d - 2), d * (1 + d * (1 - d)), d * d * (d - 1)


def _fast(original: Callable[..., Image.Image], columns: bool, sheared: bool) -> Callable[..., Image.Image]:
    """timm's function where the case is ours; else timm's function itself."""

    def augment(picture: Image.Image, amount: float, **options: Any) -> Image.Image:
        kinds = options.get("resample", Image.Resampling.NEAREST)
        kind = random.choice(kinds) if isinstance(kinds, (tuple, list)) else kinds  # the draw that timm makes
        fill = options.get("fillcolor")
        if picture.mode != "RGB" or kind != Image.Resampling.BICUBIC or not isinstance(fill, (tuple, list)):
            return original(picture, amount, **{**options, "resample": kind})  # bilinear: Pillow is as fast
        slope, shift = (amount, 0.0) if sheared else (0.0, amount * picture.size[columns])
        return slide(picture, slope, shift, columns, fill)

    return augment


_OURS: dict[Callable[..., Any], Callable[..., Any]] = {
    auto_augment.shear_x: _fast(auto_augment.shear_x, columns=False, sheared=True),
    auto_augment.shear_y: _fast(auto_augment.shear_y, columns=True, sheared=True),
    auto_augment.translate_x_rel: _fast(auto_augment.translate_x_rel, columns=False, sheared=False),
    auto_augment.translate_y_rel: _fast(auto_augment.translate_y_rel, columns=True, sheared=False),
}
