"""Mask2Former: one head for panoptic and instance segmentation. Importing this does not import transformers."""

from visionattn.heads.panoptic.head import Mask2Former, Predictions

__all__ = ["Mask2Former", "Predictions"]
