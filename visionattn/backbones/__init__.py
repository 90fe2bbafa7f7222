"""Backbones: stem, blocks, stages, and the one class that puts them together."""

from visionattn.backbones.block import Block
from visionattn.backbones.carrier import CarrierStage
from visionattn.backbones.feed_forward import FeedForward
from visionattn.backbones.hierarchical import HierarchicalBackbone
from visionattn.backbones.overlap import OverlapStem
from visionattn.backbones.stage import Stage
from visionattn.backbones.stem import ConvDownsample, ConvStem, PatchMerging, PatchStem

__all__ = [
    "Block",
    "CarrierStage",
    "ConvDownsample",
    "ConvStem",
    "FeedForward",
    "HierarchicalBackbone",
    "OverlapStem",
    "PatchMerging",
    "PatchStem",
    "Stage",
]
