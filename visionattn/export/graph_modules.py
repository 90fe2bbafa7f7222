"""What of a task becomes a graph: images in, tensors out, no data-dependent shape in between.

Shapes: B batch, H W image, K classes, A anchors of all levels, C channels, h w map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, clip_boxes_to_image

from visionattn.attention.resizing import cell_shares
from visionattn.errors import ConfigError
from visionattn.heads import LogitsHead
from visionattn.heads.detection.dense import FCOSDetector, RetinaNetDetector
from visionattn.heads.detection.pyramid import Pyramid
from visionattn.heads.panoptic import Mask2Former
from visionattn.heads.segmentation.head import SegmentationHead
from visionattn.training.task import VisionTask

TRACEABLE = "traceable"
_SQUARES: dict[Any, int] = {key: size for size in range(1, 13) for key in (size, (size, size))}


class Graph(nn.Module):
    """A module to be traced.

    Attributes:
        outputs: names of what it gives, in order.
        stride: of the coarsest map; images must be larger than that.
    """

    outputs: tuple[str, ...]

    def __init__(self, backbone: Any):
        super().__init__()
        self.backbone: Any = backbone
        self.stride = int(backbone.feature_info[-1]["reduction"])

    def features(self, images: Tensor) -> list[Tensor]:
        """The stages' maps, the last one normed."""
        maps: list[Tensor] = self.backbone.forward_intermediates(images, norm=True, intermediates_only=True)
        return maps

    def prediction(self, outputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]] | None) -> Any:
        """What the task's own ``forward`` gives, from the outputs for a batch.

        Args:
            outputs: those of :attr:`outputs`.
            sizes: (height, width) of each image in a padded batch; None: they fill it.
        """
        return outputs[0]


class Features(Graph):
    """``(B, 3, H, W)`` -> the stages' maps ``(B, C, h, w)``, the last one normed."""

    def __init__(self, backbone: Any):
        super().__init__(backbone)
        self.outputs = tuple(f"stage{i + 1}" for i in range(len(backbone.feature_info)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.features(images))


class Logits(Graph):
    """Classification: ``(B, 3, H, W) -> (B, K)``."""

    outputs = ("logits",)

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__(backbone)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class ClassScores(Graph):
    """Semantic segmentation: ``(B, 3, H, W) -> (B, K, H, W)``, the logits at the image's size."""

    outputs = ("logits",)

    def __init__(self, backbone: nn.Module, head: SegmentationHead):
        super().__init__(backbone)
        self.norms, self.decoder = head.norms, head.decoder

    def prediction(self, outputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]] | None) -> tuple[Tensor, None]:
        return outputs[0], None

    def forward(self, images: Tensor) -> Tensor:
        logits = self.decoder(self.norms(self.features(images)))
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear")


class Candidates(Graph):
    """RetinaNet and FCOS: ``(B, 3, H, W)`` -> boxes ``(B, A, 4)`` and scores ``(B, A, K)``, of every anchor.

    Boxes are x1 y1 x2 y2 in pixels, clipped to the image; scores are in 0..1. What is left to do is a threshold and
    non-maximum suppression.
    """

    outputs = ("boxes", "scores")

    def __init__(self, backbone: nn.Module, head: RetinaNetDetector | FCOSDetector):
        super().__init__(backbone)
        self.pyramid = head.pyramid
        self.detector: Any = head.detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pyramid: Pyramid = self.pyramid
        inputs = pyramid.norms(self.features(images)[pyramid.skip :])
        maps = list(pyramid.fpn({str(i): x for i, x in enumerate(inputs)}).values())
        outputs: dict[str, Tensor] = self.detector.head(maps)
        boxes = self._decoded(outputs["bbox_regression"], self._anchors(images, maps))
        scores = scores_of(outputs)
        height, width = images.shape[-2:]
        x, y = boxes[..., 0::2].clamp(min=0, max=width), boxes[..., 1::2].clamp(min=0, max=height)
        return torch.stack((x, y), dim=-1).flatten(-2), scores

    def prediction(self, outputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]] | None) -> list[dict[str, Tensor]]:
        """Detections per image: the threshold and the suppression that are left to do."""
        assert sizes is not None, "detection batches are padded"
        detector, results = self.detector, []
        for boxes, scores, size in zip(*outputs[:2], sizes, strict=True):
            place, label = (scores > detector.score_thresh).nonzero(as_tuple=True)
            kept, values = clip_boxes_to_image(boxes[place], size), scores[place, label]
            chosen = batched_nms(kept, values, label, detector.nms_thresh)[: detector.detections_per_img]
            results.append({"boxes": kept[chosen], "scores": values[chosen], "labels": label[chosen]})
        return results

    def _anchors(self, images: Tensor, maps: list[Tensor]) -> Tensor:
        """``(A, 4)``; torchvision's, whose distance on a level is the image's size over the map's, rounded down."""
        cells: list[Tensor] = self.detector.anchor_generator.cell_anchors
        height, width = images.shape[-2:]
        levels = []
        for x, cell in zip(maps, cells, strict=True):
            rows, columns = x.shape[-2:]
            y = torch.arange(rows, device=x.device) * (height // rows)
            across = torch.arange(columns, device=x.device) * (width // columns)
            y, across = y[:, None].expand(rows, columns), across[None].expand(rows, columns)
            shifts = torch.stack((across, y, across, y), dim=-1).flatten(0, 1)
            levels.append((shifts[:, None] + cell[None]).flatten(0, 1))
        return torch.cat(levels).to(images.dtype)

    def _decoded(self, regression: Tensor, anchors: Tensor) -> Tensor:
        coder, batch = self.detector.box_coder, regression.shape[0]
        repeated = anchors[None].expand(batch, -1, -1)
        if hasattr(coder, "decode_single"):  # RetinaNet's shifts and scales; FCOS gives distances to the edges
            decoded: Tensor = coder.decode_single(regression.flatten(0, 1), repeated.flatten(0, 1))
            return decoded.unflatten(0, (batch, -1))
        centers = (anchors[:, :2] + anchors[:, 2:]) / 2
        sizes = torch.stack((anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]), dim=-1)
        edges = regression * sizes.repeat(1, 2) if coder.normalize_by_size else regression
        return torch.cat((centers - edges[..., :2], centers + edges[..., 2:]), dim=-1)


def scores_of(outputs: dict[str, Tensor]) -> Tensor:
    """Probability of every class; FCOS weighs it with the center-ness."""
    scores = outputs["cls_logits"].sigmoid()
    return (scores * outputs["bbox_ctrness"].sigmoid()).sqrt() if "bbox_ctrness" in outputs else scores


class MeanCells(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two products with matrices, whose sizes may be unknown when a graph is traced.

    Args:
        size: rows and columns of the result.

    Shape:
        ``(B, C, H, W) -> (B, C, size, size)``
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if self.size == 1:
            return x.mean((2, 3), keepdim=True)
        rows, columns = (cell_shares(self.size, size, x) for size in x.shape[2:])
        return F.linear(F.linear(x, columns).transpose(2, 3), rows).transpose(2, 3)


def graph_of(task: VisionTask, part: str) -> Graph:
    """A task's model, or its backbone, as a module of plain torch operators.

    Every attention computes by the ``traceable`` backend: see ``kernels/backends/traceable.py``.

    Args:
        task: in evaluation mode; it is not changed.
        part: ``model`` or ``features``.

    Raises:
        ConfigError: another part, or a head whose results have shapes that depend on what is in the image.
    """
    if part not in ("model", "features"):
        raise ConfigError(f"options.part is model or features, not {part!r}")
    backbone, head = traceable(task.backbone), traceable(task.head)
    if part == "features":
        return Features(backbone).eval()
    builders: list[tuple[type | tuple[type, ...], Callable[..., Graph]]] = [
        (LogitsHead, Logits),
        (SegmentationHead, ClassScores),
        ((RetinaNetDetector, FCOSDetector), Candidates),
    ]
    for kind, build in builders:
        if isinstance(head, kind):
            return build(backbone, head).eval()
    why = "the number of regions in its second stage depends on the image; use head=retinanet or head=fcos"
    if isinstance(head, Mask2Former):
        why = "query-based masks are not supported"
    raise ConfigError(
        f"a {type(head).__name__} cannot be exported as one graph: {why}. options.part=features exports the backbone"
    )


def traceable(module: nn.Module) -> nn.Module:
    """A copy whose attentions are computed by plain torch operators, and whose poolings take any size."""
    copied = copy.deepcopy(module)
    part: Any
    for part in copied.modules():
        if isinstance(getattr(part, "backend", None), str):
            part.backend = TRACEABLE
        for name, child in part.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in _SQUARES:
                setattr(part, name, MeanCells(_SQUARES[child.output_size]))
    return copied.eval()


def expected(task: VisionTask, graph: Graph, images: Tensor) -> tuple[Tensor, ...]:
    """What the task itself computes, by its own backends, where the graph computes it again."""
    features = task.backbone.forward_intermediates(images, norm=True, intermediates_only=True)
    if isinstance(graph, Features):
        return tuple(features)
    if isinstance(graph, Logits):
        return (task.head(features),)
    if isinstance(graph, ClassScores):
        return (F.interpolate(task.head(features)[0], size=images.shape[-2:], mode="bilinear"),)
    return _candidates(task.head, features, images)


def _candidates(head: Any, features: list[Tensor], images: Tensor) -> tuple[Tensor, ...]:
    """Boxes and scores by torchvision's own decoding, image by image."""
    size = tuple(images.shape[-2:])
    outputs, anchors, _ = head._layers(features, ImageList(images, [size] * len(images)))
    coder: Any = head.detector.box_coder
    decode = getattr(coder, "decode_single", None) or coder.decode
    boxes = [decode(one, own) for one, own in zip(outputs["bbox_regression"], anchors, strict=True)]
    return torch.stack([clip_boxes_to_image(one, size) for one in boxes]), scores_of(outputs)
