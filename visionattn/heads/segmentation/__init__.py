"""Heads of semantic segmentation."""

from visionattn.heads.segmentation.head import SegmentationHead
from visionattn.heads.segmentation.inference import Inference
from visionattn.heads.segmentation.pixel_loss import PixelLoss
from visionattn.heads.segmentation.segformer import SegFormerHead
from visionattn.heads.segmentation.segman import SegMANDecoder
from visionattn.heads.segmentation.semantic_fpn import SemanticFPN
from visionattn.heads.segmentation.upernet import FullyConvolutional, UPerNet

__all__ = [
    "FullyConvolutional",
    "Inference",
    "PixelLoss",
    "SegFormerHead",
    "SegMANDecoder",
    "SegmentationHead",
    "SemanticFPN",
    "UPerNet",
]
