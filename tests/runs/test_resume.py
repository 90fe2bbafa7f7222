"""A run that was cut off goes on to the same weights, to the bit, and trains on every sample once."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from tests.runs.interruption import Killed, differing, seen
from visionattn.cli import main

pytestmark = pytest.mark.filterwarnings("default")

EPOCHS, BATCHES = 2, 6


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


COMMON = [
    *("train", "backbone=swin_pico", "backbone.drop_path_rate=0.2", "task.mixup_alpha=0.8", "logger=csv"),
    *("data.batch_size=8", f"trainer.max_epochs={EPOCHS}", f"trainer.limit_train_batches={BATCHES}"),
    *("trainer.limit_val_batches=3", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "resume=auto"),
    *("schedule.warmup_epochs=1", "callbacks.last.every_n_steps=2", "allow=[tests]"),
    "+callbacks.probe={_target_: tests.runs.interruption.Probe, folder: '${run_dir}'}",
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
        ["saving 3 raise", "accumulated 9 raise"],
    ],
    ids=lambda ends: " then ".join(ends),
)
def test_a_run_that_was_cut_off_ends_with_the_same_weights(whole, tmp_path, monkeypatch, ends):
    for end in ends:
        assert train(tmp_path / "run", monkeypatch, end) is None
    assert train(tmp_path / "run", monkeypatch) == 0
    assert_same(tmp_path / "run", whole)


def test_a_run_counted_in_steps_goes_on_too(tmp_path, monkeypatch):
    """Lightning resumes such runs by other rules."""
    steps = [f"trainer.max_steps={BATCHES + 3}", "trainer.max_epochs=-1"]
    assert train(tmp_path / "whole", monkeypatch, "", *steps) == 0
    assert train(tmp_path / "run", monkeypatch, "epoch 0 raise", *steps) is None
    assert train(tmp_path / "run", monkeypatch, "accumulated 7 raise", *steps) is None
    assert train(tmp_path / "run", monkeypatch, "", *steps) == 0
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_run_with_muon_goes_on_too(tmp_path, monkeypatch):
    """timm's Muon decides in its first step what it orthogonalizes, and keeps that in its state."""
    assert train(tmp_path / "whole", monkeypatch, "", "optim=muon") == 0
    assert train(tmp_path / "run", monkeypatch, "accumulated 8 raise", "optim=muon") is None
    assert train(tmp_path / "run", monkeypatch, "", "optim=muon") == 0
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(whole, monkeypatch, capsys):
    before = (whole / "checkpoints/last.ckpt").read_bytes()
    assert train(whole, monkeypatch) == 0
    assert "is already finished; remove resume=auto or choose another hydra.run.dir to train again" in " ".join(
        capsys.readouterr().out.split()
    )
    assert (whole / "checkpoints/last.ckpt").read_bytes() == before


@pytest.fixture
def copied(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    return tmp_path / "run"


def test_a_damaged_checkpoint_is_passed_over(whole, copied, monkeypatch, capsys):
    last = copied / "checkpoints/last.ckpt"
    contents = last.read_bytes()
    last.write_bytes(contents[: len(contents) // 2])
    assert train(copied, monkeypatch) == 0
    said = capsys.readouterr()
    assert "last.ckpt is damaged" in " ".join(said.err.split())
    assert "previous.ckpt" in said.out
    assert differing(last, whole / "checkpoints/last.ckpt") == []
    assert (copied / "checkpoints/last.ckpt.damaged").exists()


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("optim.lr=1e-4", "optim.lr: was 0.002, is now 0.0001"),
        ("seed=3", "seed: was 0, is now 3"),
        ("backbone.drop_path_rate=0", "backbone.drop_path_rate: was 0.2, is now 0"),
        ("data.batch_size=4", "8 images per step, this command has 4"),
        ("callbacks.ema.decay=0.5", "callbacks.ema.decay: was 0.99, is now 0.5"),
    ],
)
def test_another_run_is_refused_by_name(copied, monkeypatch, capsys, option, named):
    assert train(copied, monkeypatch, "", option) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert named in error
    assert "task." not in error.partition("Different:")[2]


def test_what_does_not_matter_may_differ(whole, copied, monkeypatch):
    shutil.copy(copied / "checkpoints/previous.ckpt", copied / "checkpoints/last.ckpt")
    options = [
        "data.num_workers=2",
        "data.eval_batch_size=45",
        "trainer.log_every_n_steps=5",
        "callbacks.last.every_n_steps=0",
        "backbone.card.top1=1.0",
    ]
    assert train(copied, monkeypatch, "", *options) == 0
    assert differing(copied / "checkpoints/last.ckpt", whole / "checkpoints/last.ckpt") == []


def test_the_same_command_finds_its_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROBE", "accumulated 4 raise")
    short = [*COMMON, "trainer.max_epochs=1"]
    with pytest.raises(Killed):
        main(short)
    monkeypatch.setenv("PROBE", "never 0 raise")
    assert main([*short, "seed=1"]) == 0  # another run, which is not gone on with
    assert main(short) == 0
    runs = sorted((tmp_path / "outputs/classification/swin_pico").iterdir())
    assert len(runs) == 2
    assert (runs[0] / "results.json").is_file()
    assert sorted(seen(runs[0])) == [(0, batch) for batch in range(BATCHES)]


@pytest.mark.parametrize(
    ("option", "message"), [("resume=yes", "resume is auto or null"), ("-m", "hydra.sweep.dir=DIR")]
)
def test_other_ways_to_resume_are_refused(monkeypatch, tmp_path, capsys, option, message):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMON, option]) == 2
    assert message in capsys.readouterr().err
