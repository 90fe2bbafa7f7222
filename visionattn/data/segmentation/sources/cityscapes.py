"""Cityscapes with its 19 evaluated classes."""

from __future__ import annotations

from collections.abc import Sequence

from visionattn.data.segmentation.classes import ClassList, packaged
from visionattn.data.segmentation.labels import IGNORE
from visionattn.data.segmentation.sources.masks import MaskSource, Place


class Cityscapes(MaskSource):
    """Cityscapes (Cordts et al. 2016): leftImg8bit and gtFine, 19 of the 34 labels are evaluated.

    Read are `*_gtFine_labelIds.png`, which the download holds; the other labels are ignored.
    """

    def places(self, split: str) -> Sequence[Place]:
        return [Place(f"leftImg8bit/{split}", f"gtFine/{split}", "_leftImg8bit.png", "_gtFine_labelIds.png")]

    def classes(self) -> ClassList:
        return packaged("cityscapes")

    def ignored(self) -> Sequence[int]:
        return (*range(34), IGNORE)
