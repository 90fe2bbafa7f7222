"""Copy-paste augmentation: objects of one image are put into another.

Shapes: H W image, N objects.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

Objects = dict[str, Tensor]


def copy_paste(source: Tensor, objects: Objects, image: Tensor, target: Objects) -> tuple[Tensor, Objects]:
    """Simple copy-paste (Ghiasi et al. 2020, arXiv 2012.07177) of a random subset of objects.

    What the pasted objects hide is cut from the masks below. Boxes follow the masks, and objects of which nothing is
    left are removed. Both images are transformed already. The source is put into the upper left corner and cut to fit.
    Objects without a mask are not pasted, and stay below with their boxes.
    The edges are not blurred; by the authors' measurement that changes nothing.

    Args:
        source: uint8 ``(3, h, w)``.
        objects: boxes, labels and masks of the source.
        image: uint8 ``(3, H, W)``, which is pasted into.
        target: its boxes, labels and masks.
    """
    if "masks" not in objects or not len(objects["labels"]):
        return image, target
    chosen = torch.rand(len(objects["labels"])) < 0.5
    chosen &= _known(objects)
    height, width = image.shape[1:]
    masks = objects["masks"][chosen].new_zeros(int(chosen.sum()), height, width)
    cut = objects["masks"][chosen][:, :height, :width]
    masks[:, : cut.shape[1], : cut.shape[2]] = cut
    front = masks.bool().any(0)
    image = image.clone()
    pixels = source[:, :height, :width]
    corner = front[: pixels.shape[1], : pixels.shape[2]]
    image[:, : pixels.shape[1], : pixels.shape[2]][:, corner] = pixels[:, corner]
    below = target["masks"] * ~front
    every = torch.cat([below, masks])
    known = torch.cat([_known(target), chosen[chosen]])
    boxes = torch.where(
        known[:, None], _boxes(every), torch.cat([target["boxes"], target["boxes"].new_zeros(len(masks), 4)])
    )
    labels = torch.cat([target["labels"], objects["labels"][chosen]])
    left = every.flatten(1).any(1).bool() | ~known
    pasted = {"boxes": boxes[left], "labels": labels[left], "masks": every[left]}
    return image, pasted if known.all() else pasted | {"has_mask": known[left]}


def _known(objects: Objects) -> Tensor:
    """Which objects have a mask, bool ``(N,)``."""
    labels = objects["labels"]
    return objects.get("has_mask", torch.ones(len(labels), dtype=torch.bool, device=labels.device))


def _boxes(masks: Tensor) -> Tensor:
    """Boxes around the outer edges of the pixels, float ``(N, 4)``; zeros without a pixel."""
    seen, boxes = masks.flatten(1).any(1).bool(), torch.zeros(len(masks), 4)
    if seen.any():
        boxes[seen] = masks_to_boxes(masks[seen]) + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    return boxes
