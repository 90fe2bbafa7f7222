"""The data module under Lightning's own loops: epochs, resuming, overfitting, two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.data.helpers import make_tree
from tests.data.lightning_probe import Probe, trainer
from visionattn.data import ClassificationData
from visionattn.data.classification.sources import ImageFolder

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers and logging


def module(root: Path, **options) -> ClassificationData:
    return ClassificationData(ImageFolder(str(root)), 3, 16, **{"batch_size": 4, "seed": 3, **options})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_at_an_epochs_end_goes_on_with_the_next_order(tmp_path, num_workers):
    """Lightning 2.6 replays epoch 0's order here with workers and an ordinary sampler."""
    make_tree(tmp_path / "tree", {"train": 7, "val": 2})
    whole = Probe()
    trainer(tmp_path, 3).fit(whole, module(tmp_path / "tree", num_workers=num_workers))
    assert len({tuple(epoch) for epoch in whole.seen}) == 3
    assert all(len(set(epoch)) == 20 for epoch in whole.seen)
    assert len(whole.evaluated) == 6

    first, second = Probe(), Probe()
    keep = ModelCheckpoint(tmp_path / "kept", save_last=True)
    options = {"callbacks": [keep], "enable_checkpointing": True}
    trainer(tmp_path, 1, **options).fit(first, module(tmp_path / "tree", num_workers=num_workers))
    resumed = module(tmp_path / "tree", num_workers=num_workers)
    trainer(tmp_path, 3).fit(second, resumed, ckpt_path=tmp_path / "kept" / "last.ckpt")
    assert first.seen + second.seen == whole.seen


def test_overfitting_gets_the_same_batches_every_epoch(tmp_path):
    probe = Probe()
    trainer(tmp_path, 3, overfit_batches=2).fit(probe, module(make_tree(tmp_path / "tree", {"train": 5, "val": 2})))
    assert probe.seen[0] == probe.seen[1] == probe.seen[2]
    assert len(probe.seen[0]) == 8


def test_two_processes_see_what_one_sees(tmp_path):
    """Order of training by global batch, and evaluation of an odd set: each id exactly once over the ranks."""
    make_tree(tmp_path / "tree", {"train": 5, "val": 3})
    alone = Probe()
    trainer(tmp_path, 2).fit(alone, module(tmp_path / "tree"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.data.lightning_probe",
        str(tmp_path / "tree"),
        str(tmp_path),
    ]
    subprocess.run(command, check=True, timeout=240, env=environment)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert sorted(ranks[0]["evaluated"] + ranks[1]["evaluated"]) == sorted(alone.evaluated)
    assert len(alone.evaluated) == 9
    for epoch in range(2):
        together = [
            name
            for step in range(0, len(ranks[0]["seen"][epoch]), 2)
            for rank in ranks
            for name in rank["seen"][epoch][step : step + 2]
        ]
        assert together == alone.seen[epoch]
