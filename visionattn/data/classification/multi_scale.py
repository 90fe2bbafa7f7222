"""Training images of several sizes by turns, in batches of as many pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from visionattn.data.classification.dataset import LabelDataset, Transform
from visionattn.data.dataset import Sample
from visionattn.data.image_size import ImageSize, as_size
from visionattn.data.records import Records
from visionattn.data.sampling import GlobalBatches, SampleKey
from visionattn.data.seeding import stable_seed
from visionattn.errors import ConfigError, DataError

BATCHES = ("pixels", "least")
Size = tuple[int, int]


def sizes_of(sizes: Sequence[ImageSize] | None) -> list[Size]:
    """The (height, width) of each of ``data.multi_scale``, from small to large.

    Raises:
        ConfigError: a size twice, or something that is no size.
    """
    found = [as_size(size) for size in sizes or ()]
    if len(set(found)) < len(found):
        raise ConfigError(f"data.multi_scale names a size twice: {', '.join(map(size_word, found))}")
    return sorted(found, key=lambda size: (size[0] * size[1], size))


def images_of_sizes(sizes: Sequence[Size], base: Size, images: str, batch_size: int, processes: int) -> list[int]:
    """Images of a global batch of each size; see :class:`ScaledBatches`."""
    whole = batch_size * processes
    least = whole if images == "least" else processes
    shares = (base[0] * base[1] / (height * width) for height, width in sizes)
    return [max(int(whole * share) // processes * processes, least) for share in shares]


class ScaledBatches(GlobalBatches):
    """Batches of a size of their own each, the same size on all processes.

    This is the variable batch sampler of MobileViT (Mehta and Rastegari 2021, arXiv 2110.02178), also CAS-ViT's (Zhang
    et al. 2024, arXiv 2408.03703): smaller images come in larger batches. Sizes are a function of (seed, epoch, batch
    number). Unlike the published code, which draws every size anew, an epoch has all sizes equally often, in an order
    of its own, so that all epochs have as many steps; and it shows no image twice: what does not fill a batch is left
    out. The number of images is rounded down to a multiple of the processes alone (published: also even).

        order  | 12 images of 16 x 16 | 3 of 32 x 32 | 5 of 24 x 24 | 3 of 32 x 32 | rest, left out

    The key of a sample has the number of its size as a third entry.

    Args:
        sizes: (height, width) of each, from small to large as :func:`sizes_of` gives them.
        base: the size that comes in batches of ``batch_size``.
        images: ``pixels``: a batch has as many pixels as one of ``base``, larger images come in smaller batches;
            ``least``: never fewer images than ``batch_size``, as CAS-ViT trains.
        args: of :class:`GlobalBatches`.
        options: of :class:`GlobalBatches`.

    Raises:
        DataError: the images do not fill one batch of every size.

    Attributes:
        groups: images of a global batch of each size.
    """

    def __init__(self, sizes: Sequence[Size], base: Size, images: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sizes = list(sizes)
        self.groups = images_of_sizes(self.sizes, base, images, self.batch_size, self.world_size)
        if sum(self.groups) > self.num_samples:
            raise DataError(
                f"{self.num_samples} training images do not fill one batch of each of the sizes of data.multi_scale, "
                f"which needs {sum(self.groups)}; lower data.batch_size, or name fewer or larger sizes"
            )
        self._numbers = self._all_sizes()

    def _all_sizes(self) -> np.ndarray:
        """The size of every batch of an epoch, in no order: all equally often, of the larger perhaps one more."""
        rounds, left = divmod(self.num_samples, sum(self.groups))
        numbers = [number for number in range(len(self.groups)) for _ in range(rounds)]
        for number in reversed(range(len(self.groups))):
            if self.groups[number] <= left:
                left -= self.groups[number]
                numbers.append(number)
        return np.array(numbers)

    def __len__(self) -> int:
        """Batches of a whole epoch, in every epoch the same."""
        return len(self._numbers)

    def plan(self) -> list[tuple[int, int, SampleKey]]:
        """Of every global batch of the current epoch: start and end in its order, and the number of its size."""
        seed = stable_seed(self.seed, self.epoch if self.shuffle else 0, "sizes", bits=32)
        numbers = np.random.RandomState(seed).permutation(self._numbers).tolist()
        ends = np.cumsum([self.groups[number] for number in numbers]).tolist()
        return [(end - self.groups[number], end, (number,)) for number, end in zip(numbers, ends, strict=True)]

    def meaning(self) -> dict[str, Any]:
        """What a batch number means; see :class:`GlobalBatches`."""
        pairs = zip(self.sizes, self.groups, strict=True)
        return super().meaning() | {"sizes": ", ".join(f"{images} of {size_word(size)}" for size, images in pairs)}


class ScaledDataset(LabelDataset):
    """Images with labels, of the size that their key says.

    Args:
        transforms: one for every size of :class:`ScaledBatches`.
    """

    def __init__(self, records: Records, transforms: Sequence[Transform], seed: int) -> None:
        super().__init__(records, transforms[0], seed, training=True)
        self.transforms = transforms

    def load(self, choice: int, key: SampleKey) -> Sample:
        """One image of its batch's size, and its label."""
        return self.transformed(choice, self.transforms[key[2]])


def size_word(size: Size) -> str:
    """A size as it is told, such as ``224x224``."""
    return f"{size[0]}x{size[1]}"
