"""A run that is stopped keeps its place: what was left of the epoch is trained when it is resumed."""

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping, Timer

from tests.training.tiny_run import Data, tiny_task, tiny_trainer
from visionattn.training import BestCheckpoint, LastCheckpoint
from visionattn.training.ending import stopped_by

pytestmark = pytest.mark.filterwarnings("ignore")


class Stop(Callback):
    """Asks Lightning to stop after a batch, as its timer does."""

    def __init__(self, batch) -> None:
        self.batch, self.ids = batch, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.ids.append((trainer.current_epoch, "".join(batch["id"])))
        if trainer.fit_loop.total_batch_idx == self.batch:
            trainer.should_stop = True


class IndexedData(Data):
    """Batches whose loader knows its position."""

    def train_dataloader(self):
        return Positioned(self._loader(self.images))


class Positioned:
    def __init__(self, loader) -> None:
        self.loader, self.at, self.start = loader, 0, 0

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        start, self.start = self.start, 0
        for number, batch in enumerate(self.loader):
            if number >= start:
                self.at = number + 1
                yield batch

    def state_dict(self):
        return {"batch": self.at}

    def load_state_dict(self, state):
        self.start = state["batch"] % len(self.loader)


def train(folder, stop=-1, resume=None, **options):
    stop = Stop(stop)
    best = BestCheckpoint(str(folder), "val/score")
    options = {"max_epochs": 2, "accumulate_grad_batches": 2} | options
    trainer = tiny_trainer(folder, stop, best, LastCheckpoint(str(folder)), **options)
    task = tiny_task()
    trainer.fit(task, datamodule=IndexedData(12), ckpt_path=resume, weights_only=True if resume else None)
    return trainer, stop.ids, task


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 4, 5, 6, 8, 9])  # 6 batches per epoch, two of them make a step
@pytest.mark.parametrize("options", [{}, {"check_val_every_n_epoch": 2}], ids=["validating", "not"])
def test_what_was_left_of_the_epoch_is_trained(tmp_path, batch, options):
    trainer, ids, whole = train(tmp_path / "whole", **options)
    stopped, first, _ = train(tmp_path / "run", batch, **options)
    assert stopped_by(stopped) == ("a callback" if batch < 10 else "")
    resumed, rest, task = train(tmp_path / "run", resume=tmp_path / "run/last.ckpt", **options)
    stepped = first if batch in (1, 3, 5, 9) else first[: len(first) // 2 * 2]
    assert stepped + rest == ids
    assert (resumed.global_step, resumed.current_epoch) == (trainer.global_step, trainer.current_epoch)
    for name, value in whole.state_dict().items():
        assert torch.equal(task.state_dict()[name], value), name


def test_a_run_counted_in_steps_goes_on_inside_the_epoch(tmp_path):
    _, ids, whole = train(tmp_path / "whole", max_epochs=-1, max_steps=5)
    _, first, _ = train(tmp_path / "run", max_epochs=-1, max_steps=2)
    _, rest, task = train(tmp_path / "run", resume=tmp_path / "run/last.ckpt", max_epochs=-1, max_steps=5)
    assert first + rest == ids
    assert all(torch.equal(task.state_dict()[name], value) for name, value in whole.state_dict().items())


def test_the_time_of_the_commands_before_does_not_count(tmp_path):
    trainer, ids, _ = train(tmp_path, max_time={"milliseconds": 1}, max_epochs=3)
    assert stopped_by(trainer) == "max_time"
    assert len(ids) <= 2
    resumed, ids, _ = train(tmp_path, resume=tmp_path / "last.ckpt", max_time={"minutes": 5}, max_epochs=3)
    assert stopped_by(resumed) == ""
    assert resumed.current_epoch == 3
    (timer,) = (callback for callback in resumed.callbacks if isinstance(callback, Timer))
    assert timer._offset == 0


def test_early_stopping_is_an_end_of_its_own(tmp_path):
    stop = EarlyStopping("val/score", mode="max", patience=1)
    trainer = tiny_trainer(tmp_path, stop, LastCheckpoint(str(tmp_path)), max_epochs=9)
    trainer.fit(tiny_task(), datamodule=Data())
    assert stopped_by(trainer) == "early stopping"


def test_a_validation_before_training_leaves_no_trace(tmp_path):
    task, trainer = tiny_task(scores=[9.0, 2.0]), tiny_trainer(tmp_path, num_sanity_val_steps=2)
    best = BestCheckpoint(str(tmp_path), "val/score")
    trainer.callbacks.append(best)
    trainer.fit(task, datamodule=Data())
    assert float(best.best_model_score) == 2.0
    assert task.validated == 0
