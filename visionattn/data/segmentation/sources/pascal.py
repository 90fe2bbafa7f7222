"""Pascal VOC 2012 and Pascal Context."""

from __future__ import annotations

from collections.abc import Sequence

from visionattn.data.segmentation.classes import ClassList, packaged
from visionattn.data.segmentation.labels import IGNORE
from visionattn.data.segmentation.sources.masks import MaskSource
from visionattn.data.segmentation.sources.pairs import Layout


class PascalVOC(MaskSource):
    """Pascal VOC 2012 (Everingham et al. 2015), 20 classes and the background; 255 is the border.

    Args:
        root: the folder.
        train_list: the list of training samples; with ``trainaug`` (Hariharan et al. 2011) the masks are taken from
            SegmentationClassAug.
    """

    folders = ("VOCdevkit/VOC2012", "VOC2012", "")

    def __init__(self, root: str, train_list: str = "train") -> None:
        super().__init__(root)
        self.train_list = train_list

    def layouts(self, split: str) -> Sequence[Layout]:
        name = self.train_list if split == "train" else split
        masks = "SegmentationClassAug" if name == "trainaug" else "SegmentationClass"
        return [Layout("JPEGImages", masks, listed=f"ImageSets/Segmentation/{name}.txt")]

    def classes(self) -> ClassList:
        return packaged("pascal_voc")


class PascalContext(MaskSource):
    """Pascal Context (Mottaghi et al. 2014) with its 59 usual classes; 0 is the background and ignored.

    Masks are PNG files in SegmentationClassContext, as the tools around the data set write them.
    """

    folders = ("VOCdevkit/VOC2010", "VOC2010", "")

    def layouts(self, split: str) -> Sequence[Layout]:
        return [Layout("JPEGImages", "SegmentationClassContext", listed=f"ImageSets/SegmentationContext/{split}.txt")]

    def classes(self) -> ClassList:
        return packaged("pascal_context")

    def ignored(self) -> Sequence[int]:
        return (0, IGNORE)
