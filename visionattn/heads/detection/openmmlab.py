"""What mmdetection (Chen et al. 2019, arXiv 1906.07155) computes otherwise than torchvision around the same layers.

A detector takes one of two :data:`CONVENTIONS`; weights are good in the one that they were trained in.

- Anchors have the sides that scale and ratio give, unrounded, and lie apart by the strides of the levels. torchvision
  rounds their corners to pixels and divides the padded image by the map.
- A region takes its level by its side over 56 pixels. RoIAlign shifts it by half a pixel of the map and takes a point
  of a cell for each of its pixels. torchvision shifts nothing and takes 2 x 2 points.
- Changes of a box's sides are bounded below too, by 16 / 1000.
- Of proposals and of a one-stage detector's boxes those without any area are left out, of regions none; torchvision
  leaves out proposals and regions with a side below 0.001 and 0.01 pixels, and none of a one-stage detector.
- A cascade takes the probabilities of the mean of its stages' logits, not the mean of their probabilities. Its third
  stage has deviations of 0.033 and 0.067, not a thirtieth and a fifteenth.
- RetinaNet has no ReLU between the two levels on top.
- Masks of whole images are sampled at the centers of pixels. torchvision first rounds their boxes to pixels.

In training this holds too; which boxes the losses are taken over, and the losses themselves, are torchvision's or those
that a detector names.

Shapes: B batch, N boxes, C channels, P the side of a pooled region, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image, nms, roi_align

from visionattn.heads.detection.align import with_images
from visionattn.heads.detection.detector import at_least_float32
from visionattn.heads.detection.paste_masks import paste_at_centers, paste_masks

if TYPE_CHECKING:
    from jaxtyping import Float, Int

TORCHVISION, OPENMMLAB = CONVENTIONS = ("torchvision", "openmmlab")
BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (1 / 0.033, 1 / 0.033, 1 / 0.067, 1 / 0.067))
"""Factors on the offsets of a cascade's stages."""
PASTES = {TORCHVISION: paste_masks, OPENMMLAB: paste_at_centers}
"""What makes masks of whole images."""
_FINEST = 56
"""Side in pixels from which half of an octave goes to the second level."""
_SHIFT = 1e-6


def check_convention(name: str) -> str:
    """Return the name of a convention.

    Raises:
        ValueError: it is none of :data:`CONVENTIONS`.
    """
    if name not in CONVENTIONS:
        raise ValueError(f"convention is one of {', '.join(CONVENTIONS)}, got {name!r}")
    return name


class Anchors(AnchorGenerator):
    """Anchors with unrounded sides, apart by the strides of the levels.

    Args:
        sizes: sides in pixels, of every level.
        aspect_ratios: height by width, of every level.
        strides: of the levels.
    """

    def __init__(
        self,
        sizes: tuple[tuple[float, ...], ...],
        aspect_ratios: tuple[tuple[float, ...], ...],
        strides: Sequence[int],
    ):
        super().__init__(sizes, aspect_ratios)
        self.strides = tuple(strides)

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """The anchors at one place, float ``(N, 4)`` around 0, all sides of a ratio side by side."""
        sides = torch.as_tensor(scales, dtype=dtype, device=device)
        high = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        width, height = (ratio[:, None] * sides for ratio in (1 / high, high))
        return torch.stack([-width, -height, width, height], -1).flatten(0, 1) / 2

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors of every image, those of all levels one after the other."""
        self.set_cell_anchors(feature_maps[0].dtype, feature_maps[0].device)
        strides = [[torch.tensor(stride, device=feature_maps[0].device)] * 2 for stride in self.strides]
        anchors = torch.cat(self.grid_anchors([list(x.shape[-2:]) for x in feature_maps], strides))
        return [anchors] * len(image_list.image_sizes)


class BoundedCoder(BoxCoder):
    """Offsets to boxes whose sides change by a factor of 62.5 at most, up or down."""

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Offsets ``(N, 4 K)`` of boxes ``(N, 4)`` -> boxes ``(N, 4 K)``."""
        rel_codes = at_least_float32(rel_codes)
        _, _, width, height = self.weights
        least = rel_codes.new_tensor([-torch.inf, -torch.inf, *(-self.bbox_xform_clip * w for w in (width, height))])
        return super().decode_single(rel_codes.maximum(least.repeat(rel_codes.shape[1] // 4)), boxes)


class AdaptiveAlign(nn.Module):
    """RoIAlign (He et al. 2017, arXiv 1703.06870) on the level that fits each box, with as many points as pixels.

    Args:
        strides: of the levels, named "0", "1", ...
        output_size: P.

    Shape:
        mapping of ``(B, C, H, W)``, boxes ``(n, 4)`` of each image, their sizes -> ``(N, C, P, P)``
    """

    def __init__(self, strides: Sequence[int], output_size: int):
        super().__init__()
        self.strides, self.output_size = tuple(strides), output_size

    def forward(
        self,
        x: Mapping[str, Float[Tensor, "B C _ _"]],
        boxes: list[Float[Tensor, "_ 4"]],
        image_shapes: list[tuple[int, int]],
    ) -> Float[Tensor, "N C P P"]:
        regions = with_images(boxes)
        side, size = (regions[:, 3:] - regions[:, 1:3]).prod(1).sqrt(), self.output_size
        levels = (side / _FINEST + _SHIFT).log2().floor().clamp(0, len(self.strides) - 1)
        pooled = x["0"].new_zeros(len(regions), x["0"].shape[1], size, size)
        for level, stride in enumerate(self.strides):
            places = torch.where(levels == level)[0]
            map_ = x[str(level)].to(regions.dtype)
            found = roi_align(map_, regions[places], size, 1 / stride, sampling_ratio=0, aligned=True)
            pooled[places] = found.to(pooled.dtype)
        return pooled


def suppress(
    boxes: Float[Tensor, "N 4"], scores: Float[Tensor, " N"], groups: Int[Tensor, " N"], threshold: float
) -> Int[Tensor, " kept"]:
    """Indices of the boxes that no better one of their group overlaps by more than ``threshold``, the best first.

    The groups are moved apart, so that one suppression serves all: with the rounding of the published code.
    """
    if not len(boxes):
        return groups[:0]
    apart = groups.to(boxes) * (boxes.max() + 1)
    return nms(boxes + apart[:, None], scores, threshold)


def best_of_levels(
    levels: Sequence[tuple[Tensor, Tensor, Tensor]], size: tuple[int, int], threshold: float, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and groups of one image that have an area and that suppression leaves, the best first.

    Args:
        levels: of each the boxes ``(N, 4)``, their scores ``(N,)``, and the groups ``(N,)`` that are suppressed one by
            one.
        size: (height, width) of the image.
        threshold: overlap above which the weaker one of two is dropped.
        most: how many are kept.
    """
    boxes, scores, groups = (torch.cat(one) for one in zip(*levels, strict=True))
    boxes = clip_boxes_to_image(boxes, size)
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores, groups = boxes[has_area], scores[has_area], groups[has_area]
    keep = suppress(boxes, scores, groups, threshold)[:most]
    return boxes[keep], scores[keep], groups[keep]
