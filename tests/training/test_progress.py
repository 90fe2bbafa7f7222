"""The progress bar takes next to no time."""

from types import SimpleNamespace

from lightning.pytorch.callbacks import RichProgressBar

from visionattn.training import callbacks
from visionattn.training.callbacks import ProgressBar


def test_it_is_drawn_four_times_a_second_and_at_an_epochs_end(monkeypatch):
    drawn, clock = [], SimpleNamespace(now=100.0)
    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", lambda self, *arguments: drawn.append(arguments[-1]))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: clock.now)
    bar, trainer = ProgressBar(), SimpleNamespace(num_training_batches=203)
    for batch in range(203):
        bar.on_train_batch_end(trainer, None, None, None, batch)
        clock.now += 0.0101
    assert drawn == [0, 25, 50, 75, 100, 125, 150, 175, 200, 202]
    assert bar.refresh_rate == 4
