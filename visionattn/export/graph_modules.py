"""What of a task becomes a graph: pictures in, tensors out, no data-dependent shape in between.

Shapes: B batch, H W picture, K classes, A places of all levels, C channels, h w map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList

from visionattn.errors import ConfigError
from visionattn.heads import ClassificationHead
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
        stride: of the coarsest map; pictures must be larger than that.
    """

    outputs: tuple[str, ...]

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.stride = int(backbone.feature_info[-1]["reduction"])  # type: ignore[index]

    def features(self, images: Tensor) -> list[Tensor]:
        """The stages' maps, the last one normed."""
        return self.backbone.forward_intermediates(images, norm=True, intermediates_only=True)  # type: ignore[operator]


class Features(Graph):
    """``(B, 3, H, W)`` -> the stages' maps ``(B, C, h, w)``, the last one normed."""

    def __init__(self, backbone: nn.Module):
        super().__init__(backbone)
        self.outputs = tuple(f"stage{number + 1}" for number in range(len(backbone.feature_info)))  # type: ignore[arg-type]

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
    """Semantic segmentation: ``(B, 3, H, W) -> (B, K, H, W)``, the logits at the picture's size."""

    outputs = ("logits",)

    def __init__(self, backbone: nn.Module, head: SegmentationHead):
        super().__init__(backbone)
        self.norms, self.decoder = head.norms, head.decoder

    def forward(self, images: Tensor) -> Tensor:
        logits = self.decoder(self.norms(self.features(images)))
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear")


class Candidates(Graph):
    """RetinaNet and FCOS: ``(B, 3, H, W)`` -> boxes ``(B, A, 4)`` as x1 y1 x2 y2 in pixels, within the picture, and
    scores ``(B, A, K)`` in 0..1, of every place of every level.

    What is left to do is to choose: a threshold, and non-maximum suppression.
    """

    outputs = ("boxes", "scores")

    def __init__(self, backbone: nn.Module, head: RetinaNetDetector | FCOSDetector):
        super().__init__(backbone)
        self.pyramid, self.detector = head.pyramid, head.detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pyramid: Pyramid = self.pyramid
        maps = list(pyramid.fpn(dict(enumerate_as_text(pyramid.norms(self.features(images)[pyramid.skip :])))).values())
        found = self.detector.head(maps)  # type: ignore[operator]
        anchors = self._anchors(images, maps)
        scores = found["cls_logits"].sigmoid()
        if "bbox_ctrness" in found:
            scores = (scores * found["bbox_ctrness"].sigmoid()).sqrt()
        coder = self.detector.box_coder
        regression = found["bbox_regression"]
        boxes = self._decoded(coder, regression, anchors)
        height, width = images.shape[-2:]
        x, y = boxes[..., 0::2].clamp(min=0, max=width), boxes[..., 1::2].clamp(min=0, max=height)
        return torch.stack((x, y), dim=-1).flatten(-2), scores

    def _anchors(self, images: Tensor, maps: list[Tensor]) -> Tensor:
        """``(A, 4)``; torchvision's, whose distance on a level is the picture's size over the map's, rounded down."""
        generator = self.detector.anchor_generator
        height, width = images.shape[-2:]
        levels = []
        for x, cell in zip(maps, generator.cell_anchors, strict=True):  # type: ignore[union-attr, arg-type]
            rows, columns = x.shape[-2:]
            y = torch.arange(rows, device=x.device) * (height // rows)
            across = torch.arange(columns, device=x.device) * (width // columns)
            y, across = y[:, None].expand(rows, columns), across[None].expand(rows, columns)
            shifts = torch.stack((across, y, across, y), dim=-1).flatten(0, 1)
            levels.append((shifts[:, None] + cell[None]).flatten(0, 1))
        return torch.cat(levels).to(images.dtype)

    def _decoded(self, coder: Any, regression: Tensor, anchors: Tensor) -> Tensor:
        batch = regression.shape[0]
        repeated = anchors[None].expand(batch, -1, -1)
        if hasattr(coder, "decode_single"):  # RetinaNet's shifts and scales; FCOS gives distances to the edges
            return coder.decode_single(regression.flatten(0, 1), repeated.flatten(0, 1)).unflatten(0, (batch, -1))
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        sizes = torch.stack((anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]), dim=-1)
        edges = regression * sizes.repeat(1, 2) if coder.normalize_by_size else regression
        return torch.cat((centres - edges[..., :2], centres + edges[..., 2:]), dim=-1)


def enumerate_as_text(maps: list[Tensor]) -> list[tuple[str, Tensor]]:
    """The keys that a feature pyramid wants."""
    return [(str(number), x) for number, x in enumerate(maps)]


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
        return F.linear(F.linear(x, self._shares(x, 3)).transpose(2, 3), self._shares(x, 2)).transpose(2, 3)

    def _shares(self, x: Tensor, axis: int) -> Tensor:
        """``(size, H or W)``: how much each row counts in each cell."""
        length = x.shape[axis]
        cell, place = torch.arange(self.size, device=x.device)[:, None], torch.arange(length, device=x.device)[None]
        first, last = cell * length // self.size, ((cell + 1) * length + self.size - 1) // self.size
        inside = ((place >= first) & (place < last)).to(x.dtype)
        return inside / (last - first).to(x.dtype)


def graph_of(task: VisionTask, part: str) -> Graph:
    """A task's model, or its backbone, as a module of plain torch operators.

    Every attention computes by the ``traceable`` backend: see ``kernels/backends/traceable.py``.

    Args:
        task: in evaluation mode; it is not changed.
        part: ``model`` or ``features``.
    Raises:
        ConfigError: another part, or a head whose results have shapes that depend on what is in the picture.
    """
    if part not in ("model", "features"):
        raise ConfigError(f"options.part is model or features, not {part!r}")
    backbone, head = traceable(task.backbone), traceable(task.head)
    if part == "features":
        return Features(backbone).eval()
    builders: list[tuple[type | tuple[type, ...], Callable[..., Graph]]] = [
        (ClassificationHead, Logits),
        (SegmentationHead, ClassScores),
        ((RetinaNetDetector, FCOSDetector), Candidates),
    ]
    for kind, build in builders:
        if isinstance(head, kind):
            return build(backbone, head).eval()
    why = "how many regions its second stage looks at depends on the picture; head=retinanet and head=fcos can"
    if isinstance(head, Mask2Former):
        why = "masks by queries are not covered"
    raise ConfigError(
        f"a {type(head).__name__} cannot become one graph: {why}. options.part=features exports the backbone"
    )


def traceable(module: nn.Module) -> nn.Module:
    """A copy whose attentions are computed by plain torch operators, and whose poolings take any size."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if isinstance(getattr(part, "backend", None), str):
            part.backend = TRACEABLE  # type: ignore[assignment]
        for name, child in part.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in _SQUARES:
                setattr(part, name, MeanCells(_SQUARES[child.output_size]))
    return twin.eval()


def expected(task: VisionTask, graph: Graph, images: Tensor) -> tuple[Tensor, ...]:
    """What the task itself computes, by its own backends, where the graph computes it again."""
    features = task.backbone.forward_intermediates(images, norm=True, intermediates_only=True)
    if isinstance(graph, Features):
        return tuple(features)
    if isinstance(graph, Logits):
        return (task.head(features),)
    if isinstance(graph, ClassScores):
        return (F.interpolate(task.head(features)[0], size=images.shape[-2:], mode="bilinear"),)
    head: RetinaNetDetector | FCOSDetector = task.head  # type: ignore[assignment]
    listed = ImageList(images, [tuple(images.shape[-2:])] * len(images))
    found, anchors, _ = head._layers(features, listed)
    return _candidates(head, found, anchors, images)


def _candidates(head: nn.Module, found: dict[str, Tensor], anchors: list[Tensor], images: Tensor) -> tuple[Tensor, ...]:
    """Boxes and scores by torchvision's own decoding, picture by picture."""
    from torchvision.ops import clip_boxes_to_image

    coder: Any = head.detector.box_coder  # type: ignore[union-attr]
    scores = found["cls_logits"].sigmoid()
    if "bbox_ctrness" in found:
        scores = (scores * found["bbox_ctrness"].sigmoid()).sqrt()
    decode = getattr(coder, "decode_single", None) or coder.decode
    boxes = [decode(one, places) for one, places in zip(found["bbox_regression"], anchors, strict=True)]
    return torch.stack([clip_boxes_to_image(one, tuple(images.shape[-2:])) for one in boxes]), scores
