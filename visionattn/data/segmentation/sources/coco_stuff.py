"""COCO-Stuff 164k."""

from __future__ import annotations

from collections.abc import Sequence

from visionattn.data.segmentation.classes import ClassList, packaged
from visionattn.data.segmentation.sources.masks import MaskSource
from visionattn.data.segmentation.sources.pairs import Layout


class COCOStuff(MaskSource):
    """COCO-Stuff 164k (Caesar et al. 2016), stuffthingmaps: 171 of 182 numbers are used; 255 is unlabeled."""

    def layouts(self, split: str) -> Sequence[Layout]:
        folders = (("images/", "annotations"), ("images/", "stuffthingmaps"), ("", "stuffthingmaps"))
        return [Layout(f"{images}{split}2017", f"{masks}/{split}2017") for images, masks in folders]

    def classes(self) -> ClassList:
        return packaged("coco_stuff")
