"""Order and batches are pure functions of seed, epoch and batch number, for any number of processes."""

import random

import numpy as np
import pytest
import torch
from timm.data.distributed_sampler import RepeatAugSampler

from visionattn.data.sampling import GlobalBatches, epoch_order
from visionattn.data.seeding import SampleRandomState, stable_seed
from visionattn.errors import DataError


def batches(rank: int = 0, world_size: int = 1, **options) -> list[list[int]]:
    epoch = options.pop("epoch", 0)
    sampler = GlobalBatches(rank=rank, world_size=world_size, **options)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    assert all(key[0] == epoch for batch in found for key in batch)
    return [[index for _, index in batch] for batch in found]


def test_the_order_is_recorded():
    """A change of this order would change every published run."""
    assert epoch_order(10, seed=0, epoch=0).tolist() == [5, 8, 0, 1, 2, 7, 4, 6, 9, 3]
    assert epoch_order(10, seed=0, epoch=1).tolist() != epoch_order(10, seed=0, epoch=0).tolist()
    assert epoch_order(10, seed=1, epoch=0).tolist() != epoch_order(10, seed=0, epoch=0).tolist()


@pytest.mark.parametrize("num_samples", [1, 2, 7, 24, 25, 53])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_every_sample_once(num_samples, world_size):
    ranks = [batches(rank, world_size, num_samples=num_samples, batch_size=4) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    seen = [index for rank in ranks for batch in rank for index in batch]
    assert sorted(seen) == list(range(num_samples))
    last = [len(rank[-1]) for rank in ranks]
    assert max(last) - min(last) <= 1


def test_a_global_batch_does_not_depend_on_the_number_of_processes():
    common = {"num_samples": 50, "seed": 3, "shuffle": True, "drop_last": True, "epoch": 2}
    alone = batches(batch_size=12, **common)
    for world_size in (2, 3):
        ranks = [batches(rank, world_size, batch_size=12 // world_size, **common) for rank in range(world_size)]
        together = [[index for rank in ranks for index in rank[step]] for step in range(len(ranks[0]))]
        assert together == alone


def test_an_epoch_is_captured_when_iteration_starts():
    sampler = GlobalBatches(8, 4, shuffle=True, seed=1)
    iterator = iter(sampler)
    first = next(iterator)
    sampler.set_epoch(5)
    assert {key[0] for key in first + next(iterator)} == {0}
    assert {key[0] for batch in sampler for key in batch} == {5}


def test_lightning_finds_set_epoch():
    from lightning.fabric.utilities.data import _set_sampler_epoch

    sampler = GlobalBatches(8, 4)
    loader = torch.utils.data.DataLoader(list(range(8)), batch_sampler=sampler)  # type: ignore[arg-type]
    _set_sampler_epoch(loader, 7)
    assert sampler.epoch == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0, "batch_size": 4}, "at least one sample"),
        ({"num_samples": 4, "batch_size": 0}, "batch of one"),
        ({"num_samples": 4, "batch_size": 1, "rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"num_samples": 7, "batch_size": 4, "world_size": 2, "drop_last": True}, "7 training samples.*at most 3"),
    ],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        GlobalBatches(**options)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_sample_random_state_covers_three_generators_and_restores_them():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    undisturbed = [draw(), draw()]
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    disturbed = [draw()]
    with SampleRandomState(1, 2, "id"):
        inside = draw()
    disturbed.append(draw())
    assert disturbed == undisturbed
    with SampleRandomState(1, 2, "id"):
        assert draw() == inside
    with SampleRandomState(1, 2, "other"):
        assert all(one != other for one, other in zip(draw(), inside, strict=True))


def test_sample_random_state_is_restored_after_an_error():
    before = torch.default_generator.get_state()
    with pytest.raises(ZeroDivisionError), SampleRandomState(0):
        torch.rand(()) / (1 // 0)
    assert torch.equal(torch.default_generator.get_state(), before)


def test_stable_seed_is_recorded():
    assert stable_seed("a", 1, bits=32) == 2752618115
    assert stable_seed(1, 23) != stable_seed(12, 3)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_repeated_images_are_those_of_timms_sampler(world_size, monkeypatch):
    """timm's order is torch's permutation: it is replaced by ours, and then its ranks see the same images."""
    monkeypatch.setattr(torch, "randperm", lambda length, generator: torch.from_numpy(epoch_order(length, 5, 2)))
    for rank in range(world_size):
        theirs = RepeatAugSampler(
            range(512), world_size, rank, shuffle=True, num_repeats=3, selected_round=0, selected_ratio=world_size
        )
        theirs.set_epoch(2)
        options = {"num_samples": 512, "batch_size": 4, "seed": 5, "shuffle": True, "drop_last": True, "repeats": 3}
        ours = GlobalBatches(rank=rank, world_size=world_size, **options)
        ours.set_epoch(2)
        keys = [key for batch in ours for key in batch]
        assert [index for _, index in keys] == list(theirs)[: len(keys)]
        assert len(keys) == len(ours) * 4 == 512 // (4 * world_size) * 4


def test_copies_of_an_image_have_keys_of_their_own():
    sampler = GlobalBatches(8, 4, shuffle=True, repeats=3)
    seen = {}
    for epoch in range(4):
        sampler.set_epoch(epoch)
        seen[epoch] = [key for batch in sampler for key in batch]
        assert sorted(np.unique([index for _, index in seen[epoch]], return_counts=True)[1]) == [2, 3, 3]
    keys = [key for epoch in seen.values() for key in epoch]
    assert len(keys) == len(set(keys)) == 32
    with pytest.raises(DataError, match="once or more often in an epoch, not 0 times"):
        GlobalBatches(8, 4, repeats=0)
