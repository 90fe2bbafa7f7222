"""From records to batches of pictures with objects.

Shapes: B batch, H W picture, N objects.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionattn.data.dataset import REFILL_ATTEMPTS
from visionattn.data.detection.copy_paste import paste
from visionattn.data.detection.sources import CocoRecords
from visionattn.data.sampling import GlobalBatches, SampleKey, epoch_order
from visionattn.data.seeding import SampleRandomState, stable_seed
from visionattn.data.unreadable import UnreadableImage, UnreadableRecord
from visionattn.errors import DataError

Edges = tuple[int, int]


@dataclass
class Scene:
    """One slot of a batch: a picture uint8 (3, H, W) with its objects, or none; and what could not be read."""

    sample_id: str
    image_id: int = -1
    image: Tensor | None = None
    target: dict[str, Tensor] = field(default_factory=dict)
    original: tuple[int, int] = (0, 0)
    unreadable: list[UnreadableRecord] = field(default_factory=list)


class SceneDataset(Dataset[Scene]):
    """Records by (epoch, index), as `GlobalBatches` names them; see :class:`visionattn.data.dataset.IndexedDataset` for
    `refill`. With `training` the transform gets the objects too; evaluation reads pictures only. `copy_paste`: the
    probability that objects of another picture are pasted into this one.
    """

    def __init__(
        self,
        records: CocoRecords,
        transform: Callable[..., Any],
        seed: int = 0,
        training: bool = False,
        copy_paste: float = 0.0,
    ) -> None:
        self.records, self.transform, self.seed, self.training = records, transform, seed, training
        self.copy_paste = copy_paste if training else 0.0

    def __len__(self) -> int:
        return len(self.records.ids)

    def __getitem__(self, key: SampleKey) -> Scene:
        epoch, index = key
        unreadable: list[UnreadableRecord] = []
        choice = index
        for attempt in range(1 + REFILL_ATTEMPTS * self.training):
            if attempt:
                choice = stable_seed(self.seed, epoch, index, "refill", attempt) % len(self)
            try:
                scene = self._scene(choice, epoch, index)
            except UnreadableImage as error:
                unreadable.append((self.records.ids[choice], str(error)))
                continue
            scene.unreadable = unreadable
            return scene
        return Scene(self.records.ids[index], unreadable=unreadable)

    def _scene(self, choice: int, epoch: int, index: int) -> Scene:
        with SampleRandomState(self.seed, epoch, index):
            image, target = self._picture(choice)
            if self.copy_paste and float(torch.rand(())) < self.copy_paste:
                other = stable_seed(self.seed, epoch, index, "paste") % len(self)
                image, target = paste(*self._picture(other), image, target)
        image_id = int(self.records.annotations.image_ids[choice])
        return Scene(self.records.ids[choice], image_id, image, target, self.records.size(choice))

    def _picture(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        picture = self.records.picture(index)
        if not self.training:
            return self.transform(picture), {}
        return self.transform(picture, self.records.objects(index))


class SceneCollate:
    """Scenes to a batch: {"image": list of uint8 (3, H, W), "target": list, "original": list of (H, W), "image_id",
    "id", "unreadable"}; slots without a picture are left out.
    """

    def __call__(self, scenes: list[Scene]) -> dict[str, Any]:
        kept = [scene for scene in scenes if scene.image is not None]
        return {
            "image": [scene.image for scene in kept],
            "target": [scene.target for scene in kept],
            "original": [scene.original for scene in kept],
            "image_id": [scene.image_id for scene in kept],
            "id": [scene.sample_id for scene in kept],
            "unreadable": [record for scene in scenes for record in scene.unreadable],
        }


class FinishScenes:
    """On the device: pictures are normalised and padded with zeros to a common size, masks with them.

    The batch then has "image" float (B, 3, H, W), H and W multiples of `divisor`, and "size", the (height, width) of
    every picture in it.

    Raises DataError where the masks of a picture have another size than the picture.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], divisor: int = 32) -> None:
        self._mean, self._std = (torch.tensor(list(values)).view(-1, 1, 1) for values in (mean, std))
        self.divisor = divisor

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = batch["image"]
        if isinstance(images, Tensor):
            return batch
        device = images[0].device if images else torch.device("cpu")
        if self._mean.device != device:
            self._mean, self._std = self._mean.to(device), self._std.to(device)
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        height, width = (
            -(-max((size[axis] for size in sizes), default=1) // self.divisor) * self.divisor for axis in (0, 1)
        )
        stacked = torch.zeros(len(images), 3, height, width, device=device)
        for place, image in zip(stacked, images, strict=True):
            pixels = image.to(torch.float32).div_(255) if image.dtype == torch.uint8 else image / 1.0
            place[:, : image.shape[1], : image.shape[2]] = pixels.sub_(self._mean).div_(self._std)
        names = batch.get("id") or [f"picture {i + 1}" for i in range(len(images))]
        targets = [
            self._padded(target, size, (height, width), name)
            for target, size, name in zip(batch["target"], sizes, names, strict=True)
        ]
        return batch | {"image": stacked, "size": sizes, "target": targets}

    @staticmethod
    def _padded(target: dict[str, Tensor], size: Edges, padded: Edges, name: str) -> dict[str, Tensor]:
        if "masks" not in target:
            return target
        masks = target["masks"]
        if tuple(masks.shape[1:]) != size:
            raise DataError(f"{name}: the transform gave masks of {tuple(masks.shape[1:])} for a picture of {size}")
        enlarged = masks.new_zeros(len(masks), *padded)
        enlarged[:, : size[0], : size[1]] = masks
        return target | {"masks": enlarged}


class GroupedBatches(GlobalBatches):
    """Global batches whose pictures are all wide or all tall, so that little is padded.

    wide: bool (num_samples,). The order of each epoch is `epoch_order`, sorted into the two kinds; whole batches of
    each kind come in a random order, what is left over fills the last batches. A function of (seed, epoch) alone.
    """

    def __init__(self, wide: np.ndarray, *args: Any, **kwargs: Any) -> None:
        super().__init__(len(wide), *args, **kwargs)
        self.wide = wide

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = self._order()
        for batch in range(self.start, len(self)):
            start, stop = self.global_batch(batch)
            size = stop - start
            first, last = size * self.rank // self.world_size, size * (self.rank + 1) // self.world_size
            yield [(self.epoch, int(index)) for index in order[start + first : start + last]]

    def _order(self) -> np.ndarray:
        order, group = epoch_order(self.num_samples, self.seed, self.epoch), self.batch_size * self.world_size
        kinds = [order[self.wide[order]], order[~self.wide[order]]]
        whole = [kind[: len(kind) // group * group].reshape(-1, group) for kind in kinds]
        batches = np.concatenate(whole)
        mixed = np.random.RandomState(stable_seed(self.seed, self.epoch, "groups", bits=32)).permutation(len(batches))
        rest = [kind[len(kind) // group * group :] for kind in kinds]
        return np.concatenate([batches[mixed].reshape(-1), *rest])
