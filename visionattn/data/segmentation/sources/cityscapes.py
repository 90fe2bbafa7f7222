"""Cityscapes with its 19 evaluated classes."""

from __future__ import annotations

from collections.abc import Sequence

from visionattn.data.segmentation.classes import ClassList, packaged
from visionattn.data.segmentation.labels import IGNORE
from visionattn.data.segmentation.sources.masks import MaskSource
from visionattn.data.segmentation.sources.pairs import Layout


class Cityscapes(MaskSource):
    """Cityscapes (Cordts et al. 2016), leftImg8bit and gtFine, with the 19 evaluated classes of its 34 labels.

    The masks are the ``*_gtFine_labelIds.png`` of the download. Other labels are ignored.
    """

    def layouts(self, split: str) -> Sequence[Layout]:
        return [Layout(f"leftImg8bit/{split}", f"gtFine/{split}", "_leftImg8bit.png", "_gtFine_labelIds.png")]

    def classes(self) -> ClassList:
        return packaged("cityscapes")

    def ignored(self) -> Sequence[int]:
        return (*range(34), IGNORE)
