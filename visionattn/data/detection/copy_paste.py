"""Simple copy-paste: objects of one picture put into another.

Shapes: H W picture, N objects.
"""

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

Objects = dict[str, Tensor]


def copy_paste(source: Tensor, objects: Objects, picture: Tensor, target: Objects) -> tuple[Tensor, Objects]:
    """A random subset of the objects of one picture, in front of another (Ghiasi et al. 2020, arXiv 2012.07177).

    What the pasted objects hide is cut from the masks below; boxes follow the masks, and objects of which nothing is
    left go. Both pictures are transformed already; the source is put into the upper left corner and cut to fit. Without
    the published blur of the edges, which by its authors changes nothing.

    Args:
        source: uint8 (3, h, w). objects: its boxes, labels and masks.
        picture: uint8 (3, H, W). target: its boxes, labels and masks.
    """
    if "masks" not in objects or not len(objects["labels"]):
        return picture, target
    chosen = torch.rand(len(objects["labels"])) < 0.5
    height, width = picture.shape[1:]
    masks = objects["masks"][chosen].new_zeros(int(chosen.sum()), height, width)
    cut = objects["masks"][chosen][:, :height, :width]
    masks[:, : cut.shape[1], : cut.shape[2]] = cut
    front = masks.bool().any(0)
    image = picture.clone()
    pixels = source[:, :height, :width]
    corner = front[: pixels.shape[1], : pixels.shape[2]]
    image[:, : pixels.shape[1], : pixels.shape[2]][:, corner] = pixels[:, corner]
    below = target["masks"] * ~front
    every = torch.cat([below, masks])
    labels = torch.cat([target["labels"], objects["labels"][chosen]])
    left = every.bool().flatten(1).any(1)
    return image, {"boxes": _boxes(every[left]), "labels": labels[left], "masks": every[left]}


def _boxes(masks: Tensor) -> Tensor:
    """float (N, 4), around the pixels' outer edges."""
    boxes = masks_to_boxes(masks) if len(masks) else torch.zeros(0, 4)
    return boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
