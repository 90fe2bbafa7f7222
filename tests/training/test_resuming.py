"""What a resumed run must find as it was, and what follows from its command anew."""

from functools import partial

import pytest

from tests.training.tiny_run import Data, tiny_task, tiny_trainer
from visionattn.data.classes import ClassInfo
from visionattn.errors import CheckpointError
from visionattn.training import LastCheckpoint, cosine
from visionattn.training.resuming import same_classes

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (["cat", "dog"], ["dog", "cat"], r"the same classes in another order \(0: dog was cat, 1: cat was dog\)"),
        (["cat", "dog"], ["cat", "cow"], r"other classes \(1: cow was dog\)"),
        (["cat", "dog"], ["cat", "dog", "cow"], "2 classes, the data have 3"),
        ([str(n) for n in range(9)], [str(n + 1) for n in range(9)], "and 4 more"),
    ],
)
def test_other_classes_are_refused_with_the_difference(before, now, said):
    with pytest.raises(CheckpointError, match=said):
        same_classes({"names": before}, ClassInfo(now))


@pytest.mark.parametrize(("before", "now"), [(["a", "b"], ["a", "b"]), ([], ["a"]), (["a"], [])])
def test_the_same_or_unknown_classes_pass(before, now):
    same_classes({"names": before}, ClassInfo(now))


def train(folder, epochs, resume=None, names=("cat", "dog")):
    data = Data()
    data.class_info = ClassInfo(list(names))
    schedule = partial(cosine, warmup_epochs=0, min_lr=1e-3)
    trainer = tiny_trainer(folder, LastCheckpoint(str(folder)), max_epochs=epochs)
    trainer.fit(tiny_task(schedule=schedule), datamodule=data, ckpt_path=resume, weights_only=resume and True)
    return trainer.optimizers[0].param_groups[0]["lr"]


def test_a_run_with_its_classes_in_another_order_is_not_resumed(tmp_path):
    train(tmp_path, 1)
    with pytest.raises(CheckpointError, match="in another order"):
        train(tmp_path, 2, tmp_path / "last.ckpt", names=("dog", "cat"))


def test_a_run_that_is_made_longer_follows_the_schedule_of_its_new_length(tmp_path):
    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "run", 2)
    assert train(tmp_path / "run", 3, tmp_path / "run/last.ckpt") == pytest.approx(whole)
