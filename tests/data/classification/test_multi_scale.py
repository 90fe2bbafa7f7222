"""Training images of several sizes by turns: a function of seed and epoch, the same on every process."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from tests.data.helpers import make_tree
from visionattn.data import ClassificationData
from visionattn.data.classification.multi_scale import ScaledBatches, sizes_of
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.classification.transforms import TrainTransform
from visionattn.data.loading import IndexedLoader
from visionattn.data.sampling import GlobalBatches
from visionattn.errors import CheckpointError, ConfigError, DataError

SIZES = [160, 192, 224, 256, 288, 320]
"""CAS-ViT's."""


def batches(sizes=SIZES, base=(224, 224), images="pixels", num_samples=10_000, batch_size=32, **options):
    return ScaledBatches(
        sizes_of(sizes), base, images, num_samples, batch_size, seed=3, shuffle=True, drop_last=True, **options
    )


def test_a_batch_of_any_size_has_as_many_pixels():
    assert batches().groups == [62, 43, 32, 24, 19, 15]
    assert batches(images="least").groups == [62, 43, 32, 32, 32, 32]
    assert batches(world_size=4).groups == [248, 172, 128, 96, 76, 60]
    assert batches(sizes=[[224, 112], 224]).groups == [64, 32]


def test_every_size_comes_equally_often_in_an_order_of_the_epoch():
    sampler = batches()
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == len(sampler) == 308
        sizes = [{key[2] for key in batch} for batch in found]
        assert all(len(one) == 1 for one in sizes)
        orders.append([number for (number,) in sizes])
        assert sorted(Counter(orders[-1]).values()) == [51, 51, 51, 51, 52, 52]
        assert [len(batch) for batch in found] == [sampler.groups[number] for number in orders[-1]]
        indices = [key[1] for batch in found for key in batch]
        assert len(set(indices)) == len(indices) == 9_979
        assert all(key[0] == epoch for batch in found for key in batch)
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("repeats", [1, 3])
def test_all_processes_have_the_sizes_and_share_the_images_of_one(repeats):
    ranks = [list(batches(batch_size=16, rank=r, world_size=2, repeats=repeats, num_samples=2_000)) for r in range(2)]
    for first, second in zip(*ranks, strict=True):
        assert len(first) == len(second)
        assert {key[2] for key in first} == {key[2] for key in second}
    keys = [key[:2] for rank in ranks for batch in rank for key in batch]
    assert len(set(keys)) == len(keys)
    shown = Counter(index for _, index in keys).values()
    assert set(shown) == {1} if repeats == 1 else max(shown) == repeats


def test_a_batch_size_that_divides_gives_the_same_batches_for_any_number_of_processes():
    sizes, base = [16, 32, 64], (32, 32)
    alone = list(batches(sizes, base, batch_size=24, num_samples=500))
    for world_size in (2, 3, 6):
        ranks = [
            list(batches(sizes, base, batch_size=24 // world_size, rank=r, world_size=world_size, num_samples=500))
            for r in range(world_size)
        ]
        assert [[key for rank in ranks for key in rank[step]] for step in range(len(alone))] == alone


def test_an_epoch_is_captured_when_iteration_starts_and_entered_in_the_middle():
    sampler = batches(num_samples=2_000)
    whole, iterator = list(sampler), iter(sampler)
    first = next(iterator)
    sampler.set_epoch(5)
    assert [first, *iterator] == whole
    sampler.resume(0, 7)
    assert list(sampler) == whole[7:]


def test_a_state_of_other_sizes_is_refused():
    def loader(sampler):
        return IndexedLoader(list(range(2_000)), sampler, list)

    plain = loader(GlobalBatches(2_000, 32, seed=3, shuffle=True, drop_last=True))
    scaled = loader(batches(num_samples=2_000))
    with pytest.raises(CheckpointError, match=r"data.multi_scale.* was none; now it is 62 of 160x160, 43 of"):
        scaled.load_state_dict(plain.state_dict())
    with pytest.raises(CheckpointError, match=r"data.multi_scale.* was 62 of 160x160.*; now it is none"):
        plain.load_state_dict(scaled.state_dict())
    with pytest.raises(CheckpointError, match=r"32 of 320x320"):
        loader(batches(images="least", num_samples=2_000)).load_state_dict(scaled.state_dict())
    older = {name: value for name, value in plain.state_dict().items() if name != "sizes"}
    plain.load_state_dict(older)


def folder(root, **options):
    augment = partial(TrainTransform, auto_augment=None, re_prob=1.0, re_mode="pixel")
    options = {"batch_size": 4, "train_transform": augment, "seed": 5, "multi_scale": [16, [24, 48], 32], **options}
    return ClassificationData(ImageFolder(str(root)), 3, 24, **options)


def test_images_have_the_size_of_their_batch_whatever_the_workers(tmp_path):
    make_tree(tmp_path, {"train": 20, "val": 3})
    epochs = []
    for workers in (0, 2):
        data = folder(tmp_path, num_workers=workers)
        data.setup("fit")
        epochs.append(list(data.train_dataloader()))
        assert {tuple(batch["image"].shape) for batch in epochs[-1]} == {(9, 3, 16, 16), (2, 3, 24, 48), (2, 3, 32, 32)}
        for batch in epochs[-1]:
            assert {name for name, *_ in batch["erased"]} == set(range(len(batch["id"])))
            assert data.to_model_input(batch)["image"].shape == batch["image"].shape
        assert {tuple(batch["image"].shape[2:]) for batch in data.val_dataloader()} == {(24, 24)}
    for one, other in zip(*epochs, strict=True):
        assert one["id"] == other["id"]
        assert torch.equal(one["image"], other["image"])


def test_a_state_in_the_middle_is_gone_on_from(tmp_path):
    make_tree(tmp_path, {"train": 20, "val": 3})
    data = folder(tmp_path)
    whole, cut = list(data.train_dataloader()), data.train_dataloader()
    iterator = iter(cut)
    for _ in range(4):
        next(iterator)
    again = folder(tmp_path, num_workers=1).train_dataloader()
    again.load_state_dict(cut.state_dict())
    rest = list(again)
    assert len(rest) == len(whole) - 4
    for one, other in zip(rest, whole[4:], strict=True):
        assert torch.equal(one["image"], other["image"])


def test_what_cannot_be_is_refused_with_the_numbers(tmp_path):
    with pytest.raises(DataError, match=r"100 training images do not fill one batch of each .* which needs 195"):
        batches(num_samples=100)
    with pytest.raises(ConfigError, match="names a size twice: 16x16, 16x16"):
        sizes_of([16, [16, 16]])
    make_tree(tmp_path, {"train": 20, "val": 3})
    with pytest.raises(ConfigError, match="multi_scale_images is one of pixels, least, got 'more'"):
        folder(tmp_path, multi_scale_images="more")


def test_the_sizes_are_those_of_the_published_sampler():
    """CAS-ViT's code takes numbers from 160 to 320 and the image size, and rounds them to multiples of 32."""
    numbers = {*np.linspace(160, 320, 5), 224.0}
    assert sorted({int(number + 16) // 32 * 32 for number in numbers}) == SIZES
