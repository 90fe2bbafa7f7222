"""Speed of UPerNet beside the heads of Hugging Face transformers, on the same backbone with the same weights.

``train`` is one step of a fused AdamW on crops: both heads, logits resized to the target, cross entropy, backward.
``inference`` is the class map of one image from overlapping windows: ours by :class:`Inference`, theirs by the usual
loop around their heads, with the same windows in the same batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.backbones.zoo import create_backbone
from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import interleaved, medians
from visionattn.errors import ConfigError
from visionattn.heads.features import FeatureNorms
from visionattn.heads.segmentation import FullyConvolutional, PixelLoss, SegmentationHead, UPerNet
from visionattn.heads.segmentation.inference import Inference, class_map, starts
from visionattn.weights.whole_models import as_backbone_and_head

PASSES = ("train", "inference")
DTYPES = ("float32", "bfloat16")
CLASSES = 150
AUXILIARY_WEIGHT = 0.4


def run_segmentation(
    name: str = "swin_tiny",
    passes: Sequence[str] = PASSES,
    dtypes: Sequence[str] = DTYPES,
    batch: int = 2,
    crop: int = 512,
    stride: int = 341,
    size: Sequence[int] = (512, 683),
    channels: int = 512,
    repeats: int = 5,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure seconds of both models, in turn, after a check that they give the same logits.

    Args:
        name: of our backbone, for both models.
        passes: ``train``, ``inference``.
        dtypes: ``float32`` or ``bfloat16`` (autocast).
        batch: crops of a training step.
        crop: side of the crops and windows.
        stride: step of the windows.
        size: (height, width) of the image.
        channels: width of the decoder.
        repeats: rounds; both run once in a round, and medians over rounds are reported.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the JSON and CSV files; None writes none.

    Raises:
        ConfigError: an unknown pass or type, transformers is not installed, or the logits differ.
    """
    _check_choices(passes, dtypes)
    torch_device = choose_device(device)
    workload = _Workload(batch, crop, stride, (int(size[0]), int(size[1])))
    pair = _Comparison(name, channels, workload, torch_device)
    rows = pair.measure(passes, dtypes, repeats)
    _show(rows)
    settings = {"backbone": name, **asdict(workload), "channels": channels, "classes": CLASSES, "repeats": repeats}
    save(rows, output_dir, "segmentation", torch_device, settings)
    return rows


def _check_choices(passes: Sequence[str], dtypes: Sequence[str]) -> None:
    if not passes or set(passes) - set(PASSES) or not dtypes or set(dtypes) - set(DTYPES):
        raise ConfigError(
            f"passes are some of {', '.join(PASSES)} and dtypes some of {', '.join(DTYPES)}, "
            f"got {list(passes)} and {list(dtypes)}"
        )


@dataclass(frozen=True)
class _Workload:
    """What both models are measured on.

    Attributes:
        batch: crops of a training step.
        crop: side of the crops and windows.
        stride: step of the windows.
        size: (height, width) of the image.
    """

    batch: int
    crop: int
    stride: int
    size: tuple[int, int]


class _Comparison:
    """Our model and transformers' with the same weights, checked to agree, and the same data for both."""

    def __init__(self, backbone: str, channels: int, workload: _Workload, device: torch.device):
        batch, crop, stride = workload.batch, workload.crop, workload.stride
        ours = _Ours(backbone, channels).to(device)
        theirs = _Theirs(ours, channels).to(device)
        images = torch.randn(batch, 3, crop, crop, device=device)
        _check(ours, theirs, images)
        target = torch.randint(0, CLASSES, (batch, crop, crop), device=device)
        image = torch.randn(3, *workload.size, device=device)
        inference = Inference("slide", crop=crop, stride=stride, short_edge=None, long_edge=None)
        self.models = {"visionattn": ours, "transformers": theirs}
        self.runners: dict[str, Callable[[nn.Module, str], Callable[[], object]]] = {
            "train": partial(_trainer, images, target),
            "inference": partial(_inferrer, image, inference),
        }
        self.num_images = {"train": batch, "inference": 1}
        self.device = device

    def measure(self, passes: Sequence[str], dtypes: Sequence[str], repeats: int) -> list[Row]:
        """The rows of both models for every pass and type."""
        ordered = [name for name in PASSES if name in passes]
        return [row for work, kind in product(ordered, dtypes) for row in self._rows(work, kind, repeats)]

    def _rows(self, work: str, kind: str, repeats: int) -> list[Row]:
        """The rows of one pass and one type; each model runs once before it is timed."""
        sides = {name: self.runners[work](model, kind) for name, model in self.models.items()}
        for run in sides.values():
            run()
        seconds = medians(interleaved(sides, repeats, self.device))
        facts = {"pass": work, "dtype": kind, "images": self.num_images[work]}
        return [facts | _row(name, seconds) for name in seconds]


class _Ours(nn.Module):
    """Our backbone and segmentation head, as the task combines them."""

    def __init__(self, backbone: str, channels: int):
        super().__init__()
        self.backbone: Any = create_backbone(backbone, num_classes=0)
        decoder = partial(UPerNet, channels=channels)
        levels: Any = self.backbone.feature_info
        self.head = SegmentationHead(levels, CLASSES, decoder=decoder, auxiliary=FullyConvolutional)
        self.criterion = PixelLoss()

    def take(self, decode: nn.Module, auxiliary: nn.Module) -> None:
        """Load the weights of transformers' heads."""
        heads = {"decode_head": decode, "auxiliary_head": auxiliary}
        theirs = {f"{head}.{name}": x for head, module in heads.items() for name, x in module.state_dict().items()}
        converted = {name.removeprefix("head."): x for name, x in as_backbone_and_head(theirs).items()}
        self.head.load_state_dict(self.head.state_dict() | converted)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.head(self.backbone.forward_intermediates(images, norm=True, intermediates_only=True))

    def loss(self, images: Tensor, target: Tensor) -> Tensor:
        logits, extra = self(images)
        return self.criterion(logits, target) + AUXILIARY_WEIGHT * self.criterion(extra, target)

    def slide(self, image: Tensor, inference: Inference) -> Tensor:
        scores = inference(lambda x: self(x)[0], [image])[0]
        return class_map(scores, image.shape[-2:])


class _Theirs(nn.Module):
    """The same backbone and norms with transformers' heads, combined as in its UperNetForSemanticSegmentation.

    Our head takes the weights of theirs. Dropout is the same on both sides: theirs has none.
    """

    def __init__(self, ours: _Ours, channels: int):
        super().__init__()
        decode, auxiliary, config = _their_heads(ours.head.feature_info, channels)
        self.backbone: Any = copy.deepcopy(ours.backbone)
        self.norms: FeatureNorms = copy.deepcopy(ours.head.norms)
        self.decode_head, self.auxiliary_head = decode, auxiliary
        self.criterion = nn.CrossEntropyLoss(ignore_index=config.loss_ignore_index)
        ours.take(decode, auxiliary)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        maps = self.norms(self.backbone.forward_intermediates(images, norm=True, intermediates_only=True))
        size = images.shape[-2:]
        logits = F.interpolate(self.decode_head(maps), size=size, mode="bilinear", align_corners=False)
        if not self.training:
            return logits, None
        return logits, F.interpolate(self.auxiliary_head(maps), size=size, mode="bilinear", align_corners=False)

    def loss(self, images: Tensor, target: Tensor) -> Tensor:
        logits, extra = self(images)
        return self.criterion(logits, target) + AUXILIARY_WEIGHT * self.criterion(extra, target)

    def slide(self, image: Tensor, inference: Inference) -> Tensor:
        height, width = image.shape[-2:]
        rows, columns = (
            starts(edge, min(crop, edge), step)
            for edge, crop, step in zip((height, width), inference.crop, inference.stride, strict=True)
        )
        corners = [(top, left) for top in rows for left in columns]
        total, count = image.new_zeros(CLASSES, height, width), image.new_zeros(1, height, width)
        for first in range(0, len(corners), inference.window_batch):
            batch = corners[first : first + inference.window_batch]
            windows = [(slice(y, y + inference.crop[0]), slice(x, x + inference.crop[1])) for y, x in batch]
            logits, _ = self(torch.stack([image[:, y, x] for y, x in windows]))
            for (y, x), scores in zip(windows, logits, strict=True):
                total[:, y, x] += scores
                count[:, y, x] += 1
        return (total / count).argmax(0)


def _their_heads(feature_info: Sequence[Mapping[str, Any]], channels: int) -> tuple[nn.Module, nn.Module, Any]:
    try:
        from transformers import UperNetConfig
        from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead
    except ImportError as error:
        raise ConfigError("the comparison needs the package transformers: pip install transformers") from error
    widths = [info["num_chs"] for info in feature_info]
    config = UperNetConfig(hidden_size=channels)
    config.num_labels = CLASSES
    return UperNetHead(config, widths), UperNetFCNHead(config, widths, in_index=len(widths) - 2), config


@torch.inference_mode()
def _check(ours: _Ours, theirs: _Theirs, images: Tensor) -> None:
    ours.eval()
    theirs.eval()
    expected = theirs(images)[0]
    logits = F.interpolate(ours(images)[0], size=images.shape[-2:], mode="bilinear")
    error = float((logits - expected).abs().max() / expected.abs().max())
    if not error < 1e-4:
        raise ConfigError(f"our UPerNet and transformers' differ by {error:.1e}; nothing was measured")


def _cast(device: torch.device, kind: str) -> Any:
    return torch.autocast(device.type, torch.bfloat16) if kind == "bfloat16" else nullcontext()


def _trainer(images: Tensor, target: Tensor, model: Any, kind: str) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)

    def step() -> None:
        model.train()
        with _cast(images.device, kind):
            loss = model.loss(images, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _inferrer(image: Tensor, inference: Inference, model: Any, kind: str) -> Callable[[], object]:
    def infer() -> Tensor:
        with torch.inference_mode(), _cast(image.device, kind):
            return model.eval().slide(image, inference)

    return infer


def _row(name: str, seconds: Mapping[str, float]) -> Row:
    return {"method": name, "seconds": seconds[name], "times_other": seconds["transformers"] / seconds[name]}


def _show(rows: list[Row]) -> None:
    cells = (
        [
            *(row[name] for name in ("pass", "dtype", "method")),
            f"{row['seconds']:.3f}",
            f"{row['images'] / row['seconds']:.2f}",
            f"{row['times_other']:.2f}",
        ]
        for row in rows
    )
    show(("pass", "type", "method", "seconds", "images/s", "x other"), cells)
