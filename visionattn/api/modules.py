"""Models for a plain PyTorch loop: losses in training, predictions in evaluation, images of unequal sizes as a list.

Shapes: B images, C channels, H W image, N objects, K classes, h w logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList

from visionattn.data.detection.dataset import NormalizeAndPad
from visionattn.data.segmentation.labels import IGNORE
from visionattn.errors import DataError
from visionattn.heads.segmentation.inference import class_map
from visionattn.heads.segmentation.pixel_loss import PixelLoss
from visionattn.training.serving import prepare, without_unused

_BEYOND = 0.5
"""How far floats may be outside of 0..1: interpolation and colors go there a little."""
Sizes = list[tuple[int, int]]


class Vision(nn.Module):
    """A backbone and a head on images as they are: uint8, or floats from 0 to 1, which the model normalizes.

    Args:
        backbone: a module with ``feature_info`` and ``forward_intermediates``.
        head: called as ``head(feature_info=, num_classes=)``; gives a module that takes the list of feature maps.
        classes: names of the classes, in the order of their labels.
        mean: of every channel.
        std: of every channel.

    Attributes:
        classes: names of the classes.
        pooled: whether the head classifies the whole image; see :class:`visionattn.training.serving.ServesTasks`.
    """

    pooled = False

    def __init__(
        self,
        backbone: nn.Module,
        head: Callable[..., nn.Module],
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        prepare(backbone, self.pooled)
        self.head: Any = head(feature_info=backbone.feature_info, num_classes=len(classes))
        self.classes = list(classes)
        self._prepare = NormalizeAndPad(mean, std)
        without_unused(backbone, self.head)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the backbone's maps of normalized images ``(B, C, H, W)``."""
        maps: list[Tensor] = self.backbone.forward_intermediates(images, norm=True, intermediates_only=True)
        return maps

    def padded(self, images: Tensor | Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        """Return normalized images padded to one size, the (height, width) of each, and targets padded with them."""
        batch: dict[str, Any] = {"image": list(images), "target": [dict(target) for target in targets]}
        return self._prepare(batch)

    def alone(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return batches ``(n, C, H, W)`` of neighbors of one size, normalized and not padded."""
        groups: list[list[Tensor]] = []
        for image in images:
            if groups and groups[-1][0].shape == image.shape:
                groups[-1].append(image)
            else:
                groups.append([image])
        batches = []
        for group in groups:
            height, width = group[0].shape[-2:]
            batches.append(self.padded(group, [{}] * len(group))["image"][..., :height, :width])
        return batches


class DetectionModel(Vision):
    """A detector that is called as torchvision's: ``model(images, targets)`` in training, ``model(images)`` otherwise.

    It differs from torchvision in three things: labels are 0..K-1, without the background; images keep the size they
    are given in; masks come as uint8 ``(N, H, W)``.

    Args:
        *args: of :class:`Vision`; the head is a :class:`visionattn.heads.detection.Detector`.
    """

    def forward(self, images: Tensor | Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None) -> Any:
        """Losses by name in training, whose sum is minimized; what is in each image otherwise.

        Args:
            images: each ``(3, H, W)``; any sizes.
            targets: needed in training: of each image ``boxes`` float ``(N, 4)`` as x1 y1 x2 y2 in pixels, ``labels``
                int64 ``(N,)`` in 0..K-1, and for a head with masks ``masks`` ``(N, H, W)`` of 0 and 1. N may be 0.

        Returns:
            Otherwise of each image ``boxes``, ``scores``, ``labels`` and for a head with masks ``masks``.

        Raises:
            DataError: images or targets of another form; says what was got.
        """
        listed = checked_images(images)
        if not self.training:
            return self._detected(listed)
        given = _given(targets, len(listed))
        for number, (image, target) in enumerate(zip(listed, given, strict=True), 1):
            _check_objects(number, image, target, len(self.classes), self.head.has_masks)
        batch = self.padded(listed, given)
        return self.head(self.features(batch["image"]), ImageList(batch["image"], batch["size"]), batch["target"])

    def _detected(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        batch = self.padded(images, [{}] * len(images))
        found = self.head(self.features(batch["image"]), ImageList(batch["image"], batch["size"]))
        for one, size in zip(found, batch["size"], strict=True):
            if "masks" in one:
                one["masks"] = self.head.paste(one["masks"], one["boxes"], size).to(one["boxes"].device)
        return found


class SegmentationModel(Vision):
    """A class for every pixel.

    Args:
        *args: of :class:`Vision`; the head is a :class:`visionattn.heads.segmentation.SegmentationHead`.
        auxiliary_weight: weight of the auxiliary head's loss, where the head has one.
        **kwargs: of :class:`Vision`.
    """

    def __init__(self, *args: Any, auxiliary_weight: float = 0.4, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auxiliary_weight = auxiliary_weight
        self.loss = PixelLoss(None, IGNORE)

    def forward(self, images: Tensor | Sequence[Tensor], targets: Tensor | Sequence[Tensor] | None = None) -> Any:
        """Losses by name in training, whose sum is minimized; the classes of each image otherwise.

        In training images of unequal sizes are padded, and the mean of the loss runs over the padding too; in
        evaluation nothing is padded.

        Args:
            images: each ``(3, H, W)``; any sizes.
            targets: needed in training: of each image integers ``(H, W)`` in 0..K-1, or 255 for pixels that do not
                count.

        Returns:
            Otherwise of each image ``classes`` int64 ``(H, W)`` and ``logits`` ``(K, h, w)`` at the head's stride.

        Raises:
            DataError: images or targets of another form; says what was got.
        """
        listed = checked_images(images)
        if not self.training:
            sizes = [image.shape[-2:] for image in listed]
            logits = [one for batch in self.alone(listed) for one in self.head(self.features(batch))[0]]
            return [{"classes": class_map(one, size), "logits": one} for one, size in zip(logits, sizes, strict=True)]
        maps = _given(targets, len(listed))
        for number, (image, target) in enumerate(zip(listed, maps, strict=True), 1):
            _check_map(number, image, target, len(self.classes))
        pixels = self.padded(listed, [{}] * len(listed))["image"]
        target = torch.stack([_pad_map(one, pixels.shape[-2:]) for one in maps])
        logits, extra = self.head(self.features(pixels))
        losses = {"loss_pixel": self.loss(logits, target)}
        if extra is not None:
            losses["loss_auxiliary"] = self.auxiliary_weight * self.loss(extra, target)
        return losses


class ClassificationModel(Vision):
    """A class for every image.

    Args:
        *args: of :class:`Vision`; the head is a :class:`visionattn.heads.ClassificationHead`.
        label_smoothing: probability mass spread over all classes, in training.
        **kwargs: of :class:`Vision`.
    """

    pooled = True

    def __init__(self, *args: Any, label_smoothing: float = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_smoothing = label_smoothing

    def forward(self, images: Tensor | Sequence[Tensor], targets: Tensor | Sequence[int] | None = None) -> Any:
        """The loss in training, the logits otherwise.

        Args:
            images: each ``(3, H, W)``; neighbors of one size are computed together, and nothing is padded.
            targets: needed in training: the label of each image, in 0..K-1.

        Returns:
            ``{"loss_classification": ...}`` in training, else logits ``(B, K)``.

        Raises:
            DataError: images or targets of another form; says what was got.
        """
        listed = checked_images(images)
        logits = torch.cat([self.head(self.features(batch)) for batch in self.alone(listed)])
        if not self.training:
            return logits
        labels = torch.as_tensor(_given(targets, len(listed)), device=logits.device)
        _check_labels("targets", labels, (len(listed),), len(self.classes))
        return {"loss_classification": F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)}


def checked_images(images: Any) -> list[Tensor]:
    """Images as a list of ``(3, H, W)``.

    Raises:
        DataError: something else; says what was got.
    """
    listed = list(images) if isinstance(images, list | tuple | Tensor) else [images]
    if not listed:
        raise DataError("there is no image in the batch")
    for number, image in enumerate(listed, 1):
        if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            got = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else f"a {type(image).__name__}"
            raise DataError(f"images are tensors (3, H, W), in a list or as (B, 3, H, W); image {number} is {got}")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise DataError(f"images are uint8, or floats from 0 to 1; image {number} is {_name(image.dtype)}")
        if image.is_floating_point() and image.device.type == "cpu":  # a GPU would be waited for
            low, high = (float(edge) for edge in image.aminmax())
            if not (low > -_BEYOND and high < 1 + _BEYOND):
                raise DataError(
                    f"images are uint8, or floats from 0 to 1; image {number} has floats from {low:.3g} to {high:.3g}. "
                    "The model normalizes images itself"
                )
    return listed


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _given(targets: Any, count: int) -> Any:
    if targets is None:
        raise DataError("a model in training needs targets; model.eval() makes it predict")
    if len(targets) != count:
        raise DataError(f"{len(targets)} targets were given for {count} images")
    return targets


def _check_labels(what: str, labels: Any, shape: tuple[int, ...], num_classes: int) -> None:
    if not isinstance(labels, Tensor) or tuple(labels.shape) != shape or labels.dtype != torch.int64:
        got = f"{_name(labels.dtype)} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(f"{what} are int64 {shape}, got {got}")
    low, high = (int(labels.min()), int(labels.max())) if labels.numel() else (0, 0)
    if low < 0 or high >= num_classes:
        raise DataError(f"{what} are in 0..{num_classes - 1} for {num_classes} classes, got {low}..{high}")


def _check_objects(number: int, image: Tensor, target: Any, num_classes: int, masks: bool) -> None:
    wanted = ["boxes", "labels", *(["masks"] if masks else [])]
    missing = [name for name in wanted if not isinstance(target, Mapping) or name not in target]
    if missing:
        raise DataError(f"the target of image {number} has no {missing[0]}; it needs {', '.join(wanted)}")
    boxes = target["boxes"]
    if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        got = f"{_name(boxes.dtype)} {tuple(boxes.shape)}" if isinstance(boxes, Tensor) else type(boxes).__name__
        raise DataError(f"boxes are floats (N, 4) as x1 y1 x2 y2; those of image {number} are {got}")
    if bool((boxes[:, 2:] <= boxes[:, :2]).any()):
        worst = boxes[(boxes[:, 2:] <= boxes[:, :2]).any(1)][0].tolist()
        raise DataError(f"boxes are x1 y1 x2 y2 with x1 < x2 and y1 < y2; image {number} has {worst}")
    _check_labels(f"labels of image {number}", target["labels"], (len(boxes),), num_classes)
    if masks and tuple(target["masks"].shape) != (len(boxes), *image.shape[-2:]):
        raise DataError(
            f"masks of image {number} are (N, H, W) = {(len(boxes), *image.shape[-2:])}, got "
            f"{tuple(target['masks'].shape)}"
        )


def _check_map(number: int, image: Tensor, target: Any, num_classes: int) -> None:
    if not isinstance(target, Tensor) or target.shape != image.shape[-2:] or target.is_floating_point():
        got = f"{_name(target.dtype)} {tuple(target.shape)}" if isinstance(target, Tensor) else type(target).__name__
        raise DataError(f"the target of image {number} is integers {tuple(image.shape[-2:])}, got {got}")
    counted = target[target != IGNORE]
    _check_labels(f"classes of image {number}", counted.long(), (counted.numel(),), num_classes)


def _pad_map(target: Tensor, size: Sequence[int]) -> Tensor:
    return F.pad(target.long(), (0, size[1] - target.shape[1], 0, size[0] - target.shape[0]), value=IGNORE)
