"""Your own data: a folder of images and one of masks."""

from __future__ import annotations

from collections.abc import Sequence

from visionattn.data.segmentation.classes import ClassList, numbered
from visionattn.data.segmentation.labels import IGNORE
from visionattn.data.segmentation.sources.masks import Layout, MaskSource
from visionattn.errors import ConfigError


class ImageMask(MaskSource):
    """Your own data: a folder of images and one of masks for each split.

    Args:
        root: the folder.
        class_names: in label order; their number is the number of classes.
        images: folder of images below root; ``{split}`` stands for train or val.
        masks: folder of masks below root.
        mask_suffix: end of a mask's name after the part it shares with its image, e.g. ``_mask.png``.
        first: stored number of the first class, 0 or 1 mostly.
        ignore: stored numbers that count nowhere.

    Raises:
        ConfigError: no class, or a number that is a class and ignored.
    """

    def __init__(
        self,
        root: str,
        class_names: Sequence[str],
        images: str = "{split}/images",
        masks: str = "{split}/masks",
        mask_suffix: str = ".png",
        first: int = 0,
        ignore: Sequence[int] = (IGNORE,),
    ) -> None:
        super().__init__(root)
        if not class_names:
            raise ConfigError("class_names is empty: name the classes of the masks, in the order of their labels")
        self._classes, self._ignored = numbered(class_names, first), tuple(ignore)
        clash = sorted(set(self._classes.numbers) & set(self._ignored))
        if clash:
            raise ConfigError(f"the numbers {clash} are classes (first={first}) and ignored at once")
        self._folders, self._suffix = (images, masks), mask_suffix

    def layouts(self, split: str) -> Sequence[Layout]:
        images, masks = (folder.format(split=split) for folder in self._folders)
        return [Layout(images, masks, mask_suffix=self._suffix)]

    def classes(self) -> ClassList:
        return self._classes

    def ignored(self) -> Sequence[int]:
        return self._ignored
