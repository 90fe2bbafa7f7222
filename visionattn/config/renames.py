"""Old names -> new names of what configurations build, so that old checkpoints and a user's own YAML keep working.

The configurations of this package name the face of a package (``visionattn.data.SegmentationData``), which stays when
files move. Before, some named files; those have moved.
"""

from __future__ import annotations

from typing import Any

MOVED = {
    "attention.geometry": "attention.padding",
    "attention.strip": "attention",
    "attention.strip_self": "attention",
    "backbones.batch_norm": "backbones",
    "backbones.block": "backbones",
    "backbones.carrier": "backbones",
    "backbones.classifier": "backbones",
    "backbones.davit": "backbones",
    "backbones.feed_forward": "backbones",
    "backbones.gcvit": "backbones",
    "backbones.hierarchical": "backbones",
    "backbones.maxvit": "backbones",
    "backbones.overlap": "backbones",
    "backbones.s2aformer": "backbones",
    "backbones.stage": "backbones",
    "backbones.stem": "backbones",
    "data.classification.ClassificationData": "data.ClassificationData",
    "data.detection.DetectionData": "data.DetectionData",
    "data.detection.coco": "data.detection",
    "data.detection.module": "data",
    "data.detection.transforms": "data.detection",
    "data.panoptic.PanopticData": "data.PanopticData",
    "data.panoptic.module": "data",
    "data.panoptic.records": "data.panoptic",
    "data.panoptic.transforms": "data.panoptic",
    "data.segmentation.SegmentationData": "data.SegmentationData",
    "data.segmentation.module": "data",
    "data.segmentation.sources": "data.segmentation",
    "data.segmentation.transforms": "data.segmentation",
    "data.sources": "data.classification",
    "data.transforms": "data.classification",
    "heads.mask2former": "heads.panoptic",
    "heads.segmentation.inference": "heads.segmentation",
    "tasks.checkpoints": "training",
    "tasks.classification.ClassificationTask": "tasks.ClassificationTask",
    "tasks.detection.DetectionTask": "tasks.DetectionTask",
    "tasks.ema": "training",
    "tasks.loggers": "training",
    "tasks.panoptic.PanopticTask": "tasks.PanopticTask",
    "tasks.schedule": "training",
    "tasks.segmentation.SegmentationTask": "tasks.SegmentationTask",
    "tasks.sharding": "training",
    "tasks.task": "training",
}
"""Module (or class) of before -> the package that offers its classes now (or the class), below ``visionattn``."""


def renamed(target: str) -> str:
    """The name that a ``_target_`` has now."""
    package, _, rest = target.partition(".")
    if package != "visionattn":
        return target
    parts = rest.split(".")
    for end in range(len(parts), 0, -1):
        module = MOVED.get(".".join(parts[:end]))
        if module is not None:
            return ".".join([package, module, *parts[end:]])
    return target


def with_new_names(node: Any) -> Any:
    """A plain container with every ``_target_`` in it under its name of now, at any depth; the node itself stays."""
    if isinstance(node, dict):
        return {
            key: renamed(value) if key == "_target_" and isinstance(value, str) else with_new_names(value)
            for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return [with_new_names(value) for value in node]
    return node
