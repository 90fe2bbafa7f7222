"""A run that was cut off goes on to the same weights, to the bit, and trains on every sample once."""

import csv
from pathlib import Path

import pytest

from visionattn.cli import main

from .interruption import Killed, differing, seen

pytestmark = pytest.mark.filterwarnings("default")

EPOCHS, BATCHES = 2, 6
COMMON = [
    *("train", "backbone=swin_pico", "backbone.drop_path_rate=0.2", "task.mixup_alpha=0.8", "logger=csv"),
    *("data.batch_size=8", f"trainer.max_epochs={EPOCHS}", f"trainer.limit_train_batches={BATCHES}"),
    *("trainer.limit_val_batches=3", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "resume=auto"),
    *("schedule.warmup_epochs=1", "callbacks.last.every_n_steps=2", "allow=[tests]"),
    "+callbacks.probe={_target_: tests.commands.interruption.Probe, folder: '${run_dir}'}",
]


def train(folder: Path, monkeypatch, probe: str = "", *options: str) -> int | None:
    """The exit code; None where the probe ended the run."""
    monkeypatch.setenv("PROBE", probe or "never 0 raise")
    try:
        return main([*COMMON, f"hydra.run.dir={folder}", *options])
    except Killed:
        return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert train(folder, patch) == 0
    return folder


def assert_same(run: Path, whole: Path) -> None:
    assert differing(run / "checkpoints/last.ckpt", whole / "checkpoints/last.ckpt") == []
    assert seen(run) == seen(whole)
    assert metrics(run) == metrics(whole)


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_the_unbroken_run_sees_every_sample_once_per_epoch(whole):
    for epoch in range(EPOCHS):
        ids = [name for (at, _), names in seen(whole).items() if at == epoch for name in names]
        assert len(ids) == len(set(ids)) == 8 * BATCHES


@pytest.mark.parametrize(
    "ends",
    [
        ["train 3 raise", "accumulated 4 raise"],  # twice in one epoch
        ["validation 4 raise"],
        ["epoch 0 raise"],
        ["saving 3 raise", "accumulated 11 raise"],
    ],
    ids=lambda ends: " then ".join(ends),
)
def test_a_run_that_was_cut_off_ends_with_the_same_weights(whole, tmp_path, monkeypatch, ends):
    for end in ends:
        assert train(tmp_path / "run", monkeypatch, end) is None
    assert train(tmp_path / "run", monkeypatch) == 0
    assert_same(tmp_path / "run", whole)
