"""``best.ckpt`` is the best checkpoint: of several, of a run that was moved, of one that changes how many it keeps."""

import shutil

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.training.tiny_run import Data, tiny_task, tiny_trainer
from visionattn.training import BestCheckpoint, LastCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore")


def train(folder, scores, epochs=None, resume=None, save_top_k=1, mode="max"):
    """Train one epoch per score, and return the callback."""
    best = BestCheckpoint(str(folder), "val/score", mode=mode, save_top_k=save_top_k)
    trainer = tiny_trainer(folder, best, LastCheckpoint(str(folder)), max_epochs=epochs or len(scores))
    trainer.fit(tiny_task(scores=scores), datamodule=Data(), ckpt_path=resume, weights_only=True if resume else None)
    return best


def epoch_of(path):
    return torch.load(path, weights_only=True)["epoch"]


@pytest.mark.parametrize(("mode", "scores"), [("max", [1.0, 5.0, 3.0, 4.0]), ("min", [9.0, 2.0, 4.0, 3.0])])
@pytest.mark.parametrize("save_top_k", [1, 2, 3, -1])
def test_it_is_the_best_of_any_number(tmp_path, mode, scores, save_top_k):
    train(tmp_path, scores, save_top_k=save_top_k, mode=mode)
    assert epoch_of(tmp_path / "best.ckpt") == 1
    steps = sorted(path.name for path in tmp_path.glob("best-step*.ckpt"))
    kept = {1: [], 2: [8, 16], 3: [8, 12, 16], -1: [4, 8, 12, 16]}[save_top_k]
    assert steps == sorted(f"best-step{step}.ckpt" for step in kept)


def test_a_run_that_was_moved_keeps_its_best(tmp_path):
    train(tmp_path / "old", [5.0, 3.0])
    shutil.move(tmp_path / "old", tmp_path / "new")
    best = train(tmp_path / "new", [4.0, 4.5], epochs=4, resume=tmp_path / "new/last.ckpt")
    assert epoch_of(tmp_path / "new/best.ckpt") == 0
    assert (float(best.best_model_score), best.best_model_path) == (5.0, str(tmp_path / "new/best.ckpt"))
    assert not (tmp_path / "old").exists()


def test_a_better_one_takes_its_place_after_the_move(tmp_path):
    train(tmp_path / "old", [5.0, 3.0])
    shutil.move(tmp_path / "old", tmp_path / "new")
    train(tmp_path / "new", [6.0], epochs=3, resume=tmp_path / "new/last.ckpt")
    assert epoch_of(tmp_path / "new/best.ckpt") == 2


def test_a_run_resumed_into_another_folder_takes_its_best_along(tmp_path):
    train(tmp_path / "old", [5.0, 3.0])
    train(tmp_path / "new", [4.0], epochs=3, resume=tmp_path / "old/last.ckpt")
    assert epoch_of(tmp_path / "new/best.ckpt") == epoch_of(tmp_path / "old/best.ckpt") == 0


def test_a_best_that_is_gone_is_forgotten_and_told(tmp_path, capsys):
    train(tmp_path, [5.0, 3.0])
    (tmp_path / "best.ckpt").unlink()
    train(tmp_path, [4.0], epochs=3, resume=tmp_path / "last.ckpt")
    assert epoch_of(tmp_path / "best.ckpt") == 2
    assert "its score, 5.00 in val/score, is forgotten" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1), (3, 2)])
def test_another_number_may_be_kept_on_resuming(tmp_path, before, after):
    train(tmp_path, [5.0, 3.0, 2.0], save_top_k=before)
    best = train(tmp_path, [4.0, 4.5], epochs=5, resume=tmp_path / "last.ckpt", save_top_k=after)
    assert epoch_of(tmp_path / "best.ckpt") == 0
    assert epoch_of(best.best_model_path) == 0
    assert [float(score) for score in best.best_k_models.values()] == [5.0, 4.5][:after]
    train(tmp_path, [6.0], epochs=6, resume=tmp_path / "last.ckpt", save_top_k=after)
    assert epoch_of(tmp_path / "best.ckpt") == 5


def test_checkpoints_of_lightnings_callback_are_gone_on_with(tmp_path):
    options = {"save_on_train_epoch_end": False, "enable_version_counter": False}
    theirs = ModelCheckpoint(tmp_path, "best", "val/score", mode="max", **options)
    trainer = tiny_trainer(tmp_path, theirs, LastCheckpoint(str(tmp_path)), max_epochs=2)
    trainer.fit(tiny_task(scores=[5.0, 3.0]), datamodule=Data())
    train(tmp_path, [4.0], epochs=3, resume=tmp_path / "last.ckpt")
    assert epoch_of(tmp_path / "best.ckpt") == 0
