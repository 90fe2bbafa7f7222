"""ADE20K's scene-parsing benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from visionattn.data.segmentation.classes import ClassList, packaged, read_object_info
from visionattn.data.segmentation.sources.masks import MaskSource
from visionattn.data.segmentation.sources.pairs import Layout


class ADE20K(MaskSource):
    """ADE20K's scene-parsing benchmark (Zhou et al. 2017), ADEChallengeData2016, with 150 classes.

    0 in a mask is "other" and ignored; 1..150 are the classes. The list of classes is read from objectInfo150.txt where
    that file exists. Its shares of pixels show whether masks are shifted.
    """

    folders = ("ADEChallengeData2016", "")

    def layouts(self, split: str) -> Sequence[Layout]:
        folder = {"train": "training", "val": "validation"}[split]
        return [Layout(f"images/{folder}", f"annotations/{folder}")]

    def classes(self) -> ClassList:
        table = self.root / "objectInfo150.txt"
        return read_object_info(table) if table.is_file() else packaged("ade20k")

    def ignored(self) -> Sequence[int]:
        return (0,)
