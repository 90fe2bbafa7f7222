"""A checkpoint is opened in one place and once per command; what a training goes on from is the newest whole one."""

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from visionattn.cli import main
from visionattn.config import BuildPolicy
from visionattn.errors import CheckpointError
from visionattn.runs.open import open_run
from visionattn.runs.resume import newest
from visionattn.training.checkpoints import AtomicCheckpointIO, set_aside

pytestmark = pytest.mark.filterwarnings("default")
OLD = Path(__file__).parents[1] / "recorded" / "before_redesign"
SMALL = ["backbone.dims=[8,8,16]", "backbone.depths=[1,1,1]", "backbone.num_heads=[1,2,2]", "data.batch_size=16"]
SHORT = ["trainer.accelerator=cpu", "trainer.limit_train_batches=2", "data.num_workers=0", "trainer.max_epochs=2"]
_watched: list[tuple[str, list[str]]] = []


def _audit(event, arguments):
    if _watched and event == "open" and isinstance(arguments[0], (str, Path)):
        name, seen = _watched[-1]
        if str(arguments[0]) == name and "w" not in str(arguments[1] or "r"):
            seen.append(name)


sys.addaudithook(_audit)


@contextmanager
def openings(path):
    """Collects every opening of a file for reading while it lasts."""
    _watched.append((str(path), []))
    try:
        yield _watched[-1][1]
    finally:
        _watched.pop()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(OLD / "classification.ckpt", folder / "last.ckpt")
    return folder.parent


def commands(run: Path, checkpoint: Path, tmp_path: Path) -> dict[str, list[str]]:
    Image.new("RGB", (64, 64), (90, 120, 30)).save(tmp_path / "image.png")
    out = f"hydra.run.dir={tmp_path}/out"
    return {
        "evaluate": ["evaluate", f"ckpt={checkpoint}", "trainer.limit_val_batches=2", "trainer.accelerator=cpu", out],
        "export": ["export", f"ckpt={run}", "format=safetensors", out],
        "resume": ["train", *SMALL, *SHORT, "trainer.limit_val_batches=1", "resume=auto", f"hydra.run.dir={run}"],
    }


@pytest.mark.parametrize("name", ["evaluate", "export", "resume"])
def test_a_command_reads_its_checkpoint_once(run, tmp_path, name, monkeypatch):
    checkpoint = run / "checkpoints" / "last.ckpt"
    loads = []
    original = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: loads.append(args) or original(*args, **kwargs))
    with openings(checkpoint) as seen:
        assert main(commands(run, checkpoint, tmp_path)[name]) == 0
    assert len(seen) == 1
    assert len(loads) == 1


def test_predict_reads_its_checkpoint_once(tmp_path):
    checkpoint = shutil.copy(OLD / "segmentation.ckpt", tmp_path / "last.ckpt")
    Image.new("RGB", (64, 64), (90, 120, 30)).save(tmp_path / "image.png")
    words = ["predict", f"ckpt={checkpoint}", f"source={tmp_path}/image.png", "device=cpu"]
    with openings(checkpoint) as seen:
        assert main([*words, f"hydra.run.dir={tmp_path}/out"]) == 0
    assert len(seen) == 1


def test_the_hash_is_that_of_what_was_read(run):
    import hashlib

    path = run / "checkpoints" / "last.ckpt"
    assert open_run(run).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_has_task_configuration_and_data(run):
    opened = open_run(run, changes={"num_classes": 10})
    assert opened.path == run / "checkpoints" / "last.ckpt"
    assert opened.config.task.num_classes == opened.task.num_classes == opened.data().num_classes == 10


def test_what_is_wrong_is_said_at_once(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "bare.ckpt")
    with pytest.raises(CheckpointError, match=r"bare\.ckpt was not written by `visionattn train`"):
        open_run(tmp_path / "bare.ckpt")


def write(path: Path, number: int) -> Path:
    AtomicCheckpointIO().save_checkpoint({"number": number, "weights": torch.arange(1000.0)}, path)
    return path


def test_the_newest_whole_one_is_found_and_the_damaged_one_set_aside(tmp_path):
    policy = BuildPolicy()
    assert newest(tmp_path, policy).run is None
    previous, last = write(tmp_path / "previous.ckpt", 1), write(tmp_path / "last.ckpt", 2)
    with openings(last) as seen:
        found = newest(tmp_path, policy)
    assert (found.path, found.run.contents["number"], found.damaged) == (last, 2, {})
    assert len(seen) == 1
    last.write_bytes(b"torn")
    found = newest(tmp_path, policy)
    assert (found.path, found.run.contents["number"]) == (previous, 1)
    assert "zip" in found.damaged[last]
    set_aside(last)
    assert newest(tmp_path, policy).damaged == {}
    shutil.rmtree(tmp_path)
