"""A loader goes on behind the last batch that was given, and says which sample holds it up."""

import multiprocessing
import os
import signal
import subprocess
import time

import pytest
import torch

from visionattn.data.dataset import Sample
from visionattn.data.loading import IndexedLoader
from visionattn.data.sampling import GlobalBatches
from visionattn.errors import CheckpointError, DataError


class Records:
    ids = tuple(f"sample {index}" for index in range(20))


class Numbers:
    """Sample k is the number k; `at` names the one at which something happens."""

    records = Records()

    def __init__(self, at=-1, happens=None):
        self.at, self.happens = at, happens

    def __len__(self):
        return 20

    def __getitem__(self, key):
        if key[1] == self.at:
            self.happens()
        return Sample(torch.zeros(3, 2, 2), key[1], str(key[1]))


def collate(samples):
    return [sample.target for sample in samples]


def loader(dataset=None, num_workers=0, batch_size=4, world_size=1, **options):
    batches = GlobalBatches(20, batch_size, world_size=world_size, seed=1, shuffle=True)
    return IndexedLoader(dataset or Numbers(), batches, collate, num_workers=num_workers, **options)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_state_in_the_middle_is_gone_on_from(num_workers):
    first = loader()
    first.batch_sampler.set_epoch(3)
    whole = list(first)
    iterator = iter(first)
    given = [next(iterator) for _ in range(2)]
    state = first.state_dict()
    assert (state["epoch"], state["batch"]) == (3, 2)
    second = loader(num_workers=num_workers)
    second.load_state_dict(state)
    second.batch_sampler.set_epoch(3)  # as Lightning announces the epoch
    assert given + list(second) == whole
    second.batch_sampler.set_epoch(4)
    first.batch_sampler.set_epoch(4)
    assert list(second) == list(first)
    assert len(list(second)) == len(second) == 5


def test_another_division_of_the_same_images_per_batch_is_right():
    state = {**loader(batch_size=4).state_dict(), "batch": 2}
    both = loader(batch_size=2, world_size=2)
    both.load_state_dict(state)
    assert len(list(both)) == 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"images": 8}, "images per batch.* was 8; now it is 4"),
        ({"seed": 9}, "data.seed"),
        ({"samples": 3}, "training"),
        ({"repeats": 3}, "data.repeats .*was 3; now it is 1"),
    ],
)
def test_a_state_of_other_batches_is_refused_by_name(changes, named):
    one = loader()
    with pytest.raises(CheckpointError, match=named):
        one.load_state_dict({**one.state_dict(), **changes})


def test_a_hanging_worker_is_reported_with_its_sample():
    with pytest.raises(DataError, match=r"no batch came in 2 s.*worker \d: sample 7"):
        list(loader(Numbers(7, lambda: time.sleep(60)), num_workers=1, timeout=2))


@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_dies_is_reported_with_its_sample():
    with pytest.raises((DataError, RuntimeError), match=r"sample 7|worker"):
        list(loader(Numbers(7, lambda: os.kill(os.getpid(), signal.SIGKILL)), num_workers=1, timeout=5))


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the sender of a signal cannot be told here")
@pytest.mark.parametrize("name", ["TERM", "INT", "USR1"])
def test_workers_outlast_signals_to_the_process_group_and_end_with_their_loader(name):
    whole = list(loader())
    before = set(multiprocessing.active_children())
    iterator = iter(loader(num_workers=2))
    given = [next(iterator)]
    workers = list(set(multiprocessing.active_children()) - before)
    assert len(workers) == 2
    for worker in workers:
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)  # the sender is not the main process
    time.sleep(0.1)
    assert given + list(iterator) == whole
    workers[0].terminate()
    workers[0].join(5)
    assert workers[0].exitcode == 0
