"""A drawn data set in the real layouts of ImageNet, COCO and ADE20K: deterministic, small, not trivial."""

from __future__ import annotations

from visionattn.data.shapes.make import make_shapes
from visionattn.data.shapes.outlines import SHAPE_NAMES
from visionattn.data.shapes.textures import TEXTURE_NAMES

__all__ = ["SHAPE_NAMES", "TEXTURE_NAMES", "make_shapes"]
