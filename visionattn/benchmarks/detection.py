"""Speed of detection beside torchvision's Mask R-CNN with the same ResNet-50 and weights, and beside pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval import mask as coco_mask
from torch import Tensor, nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import interleaved, medians
from visionattn.benchmarks.torchvision_baseline import mask_rcnn_like
from visionattn.data.detection.dataset import NormalizeAndPad
from visionattn.errors import ConfigError
from visionattn.tasks.detection.average_precision import coco_figures

PASSES = ("train", "inference", "evaluation")
CLASSES = 80


def run_detection(
    passes: Sequence[str] = PASSES,
    batch: int = 2,
    size: Sequence[int] = (480, 640),
    repeats: int = 5,
    images: int = 5000,
    per_image: int = 20,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure seconds of our Mask R-CNN and of torchvision's, in turn, and of both COCO evaluations.

    Both models get the same 8-bit images of the size that they are trained at, so neither resizes. Each normalizes and
    pads, then runs forward, backward and SGD (``train``), or predicts masks of whole images (``inference``).

    Args:
        passes: ``train``, ``inference``, ``evaluation`` (faster-coco-eval as our metric uses it against pycocotools,
            boxes and masks together, from the same targets and results in memory).
        batch: images at a time.
        size: (height, width) of the images.
        repeats: rounds; both run once in a round, and medians over rounds are reported. Evaluation runs once.
        images: generated images of the evaluation.
        per_image: largest number of objects in one of them.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the JSON and CSV files; None writes none.

    Raises:
        ConfigError: an unknown pass, detections that differ from torchvision's, or pycocotools is not installed.
    """
    if not passes or set(passes) - set(PASSES):
        raise ConfigError(f"passes are some of {', '.join(PASSES)}, got {list(passes)}")
    torch_device = choose_device(device)
    rows = _measure_models(passes, batch, (int(size[0]), int(size[1])), repeats, torch_device)
    if "evaluation" in passes:
        rows += _rows("evaluation", _evaluations(images, per_image), images, "pycocotools")
    _show(rows)
    settings = {"batch": batch, "size": list(size), "repeats": repeats, "images": images, "per_image": per_image}
    save(rows, output_dir, "detection", torch_device, settings)
    return rows


def _measure_models(
    passes: Sequence[str], batch: int, size: tuple[int, int], repeats: int, device: torch.device
) -> list[Row]:
    """The rows of training and inference, of those that are asked for; no model is built where none is."""
    rows: list[Row] = []
    if {"train", "inference"} & set(passes):
        pair = _Comparison(batch, size, device)
        for work in ("train", "inference"):
            if work in passes:
                seconds = medians(interleaved(pair.runners(work), repeats, device))
                rows += _rows(work, seconds, batch, "torchvision")
    return rows


class _Comparison:
    """Our model and the baseline with the same weights, and one batch for both."""

    def __init__(self, batch: int, size: tuple[int, int], device: torch.device):
        theirs = maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=CLASSES + 1, min_size=min(size), max_size=max(size)
        )
        self.theirs = theirs.to(device)
        self.maps, self.head = mask_rcnn_like(copy.deepcopy(theirs), CLASSES)
        self.ours = nn.ModuleList([self.maps, self.head]).to(device)
        self.to_model_input = NormalizeAndPad([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        self.images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, device=device) for _ in range(batch)]
        self.size = size
        self.targets = [_target(size, seed, device) for seed in range(batch)]
        self._check()

    def _batch(self) -> dict[str, Any]:
        return self.to_model_input({"image": self.images, "target": self.targets})

    def _run(self, targets: bool) -> Any:
        from torchvision.models.detection.image_list import ImageList

        batch = self._batch()
        images = ImageList(batch["image"], batch["size"])
        maps = self.maps.forward_intermediates(batch["image"])
        return self.head(maps, images, batch["target"] if targets else None)

    @torch.inference_mode()
    def _check(self) -> None:
        self.ours.eval()
        self.theirs.eval()
        ours, theirs = self._run(False), self.theirs([image / 255 for image in self.images])
        for a, b in zip(ours, theirs, strict=True):
            if a["boxes"].shape != b["boxes"].shape or not torch.allclose(a["boxes"], b["boxes"], atol=1e-2):
                raise ConfigError("our Mask R-CNN and torchvision's differ with the same weights; nothing was measured")

    def runners(self, work: str) -> dict[str, Callable[[], object]]:
        if work == "inference":
            return {"visionattn": self._infer_ours, "torchvision": self._infer_theirs}
        return {"visionattn": self._trainer(self.ours, self._losses_ours)} | {
            "torchvision": self._trainer(self.theirs, self._losses_theirs)
        }

    @torch.inference_mode()
    def _infer_ours(self) -> object:
        from visionattn.heads.detection.paste_masks import paste_masks

        self.ours.eval()
        return [paste_masks(one["masks"], one["boxes"], self.size) for one in self._run(False)]

    @torch.inference_mode()
    def _infer_theirs(self) -> object:
        self.theirs.eval()
        return [one["masks"] > 0.5 for one in self.theirs([image / 255 for image in self.images])]

    def _losses_ours(self) -> dict[str, Tensor]:
        return self._run(True)

    def _losses_theirs(self) -> dict[str, Tensor]:
        targets = [target | {"labels": target["labels"] + 1} for target in self.targets]
        return self.theirs([image / 255 for image in self.images], targets)

    @staticmethod
    def _trainer(model: nn.Module, losses: Callable[[], dict[str, Tensor]]) -> Callable[[], object]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

        def step() -> None:
            model.train()
            torch.manual_seed(0)
            torch.stack(list(losses().values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        step()
        return step


def _target(size: tuple[int, int], seed: int, device: torch.device) -> dict[str, Tensor]:
    random = np.random.RandomState(seed)
    height, width = size
    corners = random.uniform(0, 0.7, (8, 2)) * (width, height)
    boxes = np.concatenate([corners, corners + random.uniform(0.05, 0.3, (8, 2)) * (width, height)], 1).round()
    masks = torch.zeros(8, height, width, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = 1
    labels = torch.from_numpy(random.randint(0, CLASSES, 8))
    target = {"boxes": torch.from_numpy(boxes).float(), "labels": labels, "masks": masks}
    return {name: value.to(device) for name, value in target.items()}


def generated_results(images: int, per_image: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations and detections in COCO's format: rectangles, some crowds, detections beside the objects."""
    random, size = np.random.RandomState(0), (96, 128)
    ground_truth: dict[str, Any] = {"images": [], "annotations": [], "info": {}}
    ground_truth["categories"] = [{"id": i + 1, "name": str(i)} for i in range(CLASSES)]
    results: list[dict[str, Any]] = []
    for number in range(1, images + 1):
        ground_truth["images"].append({"id": number, "height": size[0], "width": size[1], "file_name": f"{number}.jpg"})
        for _ in range(random.randint(0, per_image + 1)):
            width, height = random.uniform(4, 60), random.uniform(4, 50)
            x, y = random.uniform(0, size[1] - width), random.uniform(0, size[0] - height)
            label = {"image_id": number, "category_id": int(random.randint(1, CLASSES + 1))}
            entry = label | {"id": len(ground_truth["annotations"]) + 1, "iscrowd": int(random.uniform() < 0.02)}
            ground_truth["annotations"].append(entry | _shape([x, y, width, height], size))
            moved = [x + random.normal(0, 2), y + random.normal(0, 2), width, height]
            for _ in range(random.randint(0, 4)):
                results.append(label | {"score": float(random.uniform()), **_shape(moved, size)})
    return ground_truth, results


def _shape(box: list[float], size: tuple[int, int]) -> dict[str, Any]:
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    runs = coco_mask.merge(coco_mask.frPyObjects([corners], *size))
    return {
        "bbox": box,
        "area": float(coco_mask.area(runs)),
        "segmentation": {"size": list(runs["size"]), "counts": _text(runs["counts"])},
    }


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def _evaluations(images: int, per_image: int) -> dict[str, float]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ConfigError("the evaluation is compared with pycocotools, which is not installed") from error
    ground_truth, results = generated_results(images, per_image)
    start = time.perf_counter()
    ours = [coco_figures(ground_truth, results, kind)[0] for kind in ("bbox", "segm")]
    middle = time.perf_counter()
    theirs = []
    with contextlib.redirect_stdout(io.StringIO()):
        for kind, dropped in (("bbox", "segmentation"), ("segm", "bbox")):
            annotations = COCO()
            annotations.dataset = copy.deepcopy(ground_truth)
            annotations.createIndex()
            kept = [{k: v for k, v in r.items() if k not in (dropped, "area")} for r in results]
            evaluation = COCOeval(annotations, annotations.loadRes(kept), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            theirs.append(evaluation.stats)
    end = time.perf_counter()
    if not np.array_equal(np.array(ours), np.array(theirs)):
        raise ConfigError("the metrics differ from pycocotools'; nothing was measured")
    return {"visionattn": middle - start, "pycocotools": end - middle}


def _rows(work: str, seconds: dict[str, float], images: int, other: str) -> list[Row]:
    return [
        {
            "pass": work,
            "method": name,
            "seconds": value,
            "images_per_second": images / value,
            "times_other": seconds[other] / value,
        }
        for name, value in seconds.items()
    ]


def _show(rows: list[Row]) -> None:
    cells = (
        (
            row["pass"],
            row["method"],
            f"{row['seconds']:.3f}",
            f"{row['images_per_second']:.2f}",
            f"{row['times_other']:.2f}",
        )
        for row in rows
    )
    show(("pass", "method", "seconds", "images/s", "x other"), cells)
