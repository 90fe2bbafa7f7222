"""What all detectors promise: losses in training, detections otherwise.

Shapes: B batch, N objects of an image, H W padded images, C channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from visionattn.errors import NonFiniteLossError
from visionattn.heads.detection.paste_masks import paste_masks

if TYPE_CHECKING:
    from jaxtyping import Float

Targets = Sequence[Mapping[str, Tensor]]
"""Of every image: ``boxes`` float (N, 4) as x1 y1 x2 y2 in pixels of the padded image, ``labels`` int64 (N,) in
0..K-1, and where masks are learned ``masks`` uint8 (N, H, W) and, if some objects have none, ``has_mask`` bool (N,). N
may be 0."""

Detections = list[dict[str, Tensor]]
"""Of every image: ``boxes`` float (N, 4), ``scores`` float (N,), ``labels`` int64 (N,) in 0..K-1, the highest score
first; with masks ``masks`` float (N, 1, 28, 28), the probabilities inside the boxes."""

Paste = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]


class Detector(nn.Module):
    """Base of the detectors.

    Attributes:
        has_masks: whether it learns and gives masks.
        paste: makes masks of whole images from those inside the boxes, called with masks, boxes and (height, width).
    """

    has_masks = False
    paste: Paste = staticmethod(paste_masks)

    def forward(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList, targets: Targets | None = None
    ) -> dict[str, Tensor] | Detections:
        """Losses by name in training, detections otherwise.

        A box that is not finite makes the losses NaN, which the task's step monitor acts on.

        Args:
            features: the backbone's maps.
            images: padded batch ``(B, 3, H, W)`` and the (height, width) of each image in it.
            targets: needed in training.

        Raises:
            ValueError: no targets in training, or maps that are not what ``feature_info`` says.
            NonFiniteLossError: what the layers say is not finite, outside training.
        """
        if not self.training:
            return self.detect(features, images)
        if targets is None:
            raise ValueError("a detector in training needs targets")
        safe = [{**target, "boxes": target["boxes"].nan_to_num(0.0, 0.0, 0.0)} for target in targets]
        losses = self.losses(features, images, safe)
        first = next(iter(losses))
        for target in targets:  # a box that is no number makes the loss none, and reaches no index on its way
            losses[first] = losses[first] + (0 * target["boxes"]).sum()
        return losses

    @abstractmethod
    def losses(
        self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList, targets: Targets
    ) -> dict[str, Float[Tensor, ""]]:
        """Losses by name; their sum is minimized."""

    @abstractmethod
    def detect(self, features: Sequence[Float[Tensor, "B _ _ _"]], images: ImageList) -> Detections:
        """What is in the images."""

    @abstractmethod
    def layers_on_maps(self) -> list[nn.Module]:
        """The layers that compute whole maps from whole maps; what follows them selects boxes, whose number varies."""

    @abstractmethod
    def cost(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> None:
        """Run the layers on maps of torch's meta device, to count multiply-adds.

        As in mmdetection's published figures, the box branch gets 1000 regions and the mask branch 100.
        """


def check_finite(what: str, *tensors: Tensor) -> None:
    """Outside training a NaN would only look like an image without objects; here it gets a name.

    Raises:
        NonFiniteLossError: some value is NaN or infinite.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise NonFiniteLossError(f"the {what} of the detector are not finite: broken weights, or a broken image")


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in float32, or in float64 where it is in that: half precision ranks and places boxes badly."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def shifted(targets: Targets, by: int) -> list[dict[str, Any]]:
    """The targets with ``by`` added to the labels: torchvision's R-CNN keeps 0 for the background."""
    return [{**target, "labels": target["labels"] + by} for target in targets]
