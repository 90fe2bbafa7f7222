"""What a training says about its end: what stopped it, of which epoch its figures are, why there are none."""

import json
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from tests.training.test_ending import Stop
from tests.training.tiny_run import Data, tiny_task, tiny_trainer
from visionattn.config.composing import compose
from visionattn.runs.report import _of_which_epoch, results_of
from visionattn.runs.resume import finished
from visionattn.training.callbacks import Stopwatch

pytestmark = pytest.mark.filterwarnings("ignore")


def trained(folder, *callbacks, scores=(1.0,), **options):
    task, trainer = tiny_task(scores=scores), tiny_trainer(folder, *callbacks, **options)
    trainer.fit(task, datamodule=Data())
    return SimpleNamespace(task=task, trainer=trainer, stopwatch=Stopwatch(), talking=None)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"max_epochs": 2}, "(last epoch)"),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, "(epoch 2 of 3)"),
        ({"max_epochs": -1, "max_steps": 6}, "(epoch 1 of 2)"),
    ],
)
def test_figures_are_of_the_epoch_that_was_validated(tmp_path, options, label):
    assert _of_which_epoch(trained(tmp_path, **options)) == label


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"limit_val_batches": 0}, "none: trainer.limit_val_batches is 0"),
        ({"check_val_every_n_epoch": 9}, "none: trainer.check_val_every_n_epoch is 9, the run has 1 epoch"),
        ({"max_epochs": 0}, "none: no step was made"),
    ],
)
def test_a_run_without_a_validation_says_why(tmp_path, options, why):
    results = results_of(trained(tmp_path, **options), {}, 1.0)
    assert str(results["validation"]) == why


def test_a_run_that_was_stopped_says_by_what(tmp_path):
    results = results_of(trained(tmp_path, Stop(1), max_epochs=3), {}, 1.0)
    assert str(results["stopped by"]).startswith("a callback; not finished: the same command with resume=auto")
    assert "stopped by" not in results_of(trained(tmp_path, max_epochs=1), {}, 1.0)


@pytest.mark.parametrize(
    ("stopped", "changes", "is_finished"),
    [
        ("", [], True),
        (None, [], True),  # results of before
        ("early stopping", [], True),
        ("max_time", [], False),
        ("a callback", [], False),
        ("", ["trainer.max_epochs=40"], False),
        ("", ["trainer.limit_train_batches=3"], False),
        ("", ["+trainer.max_time=00:01:00:00", "data.num_workers=1"], True),
    ],
)
def test_a_stopped_run_is_not_a_finished_one(tmp_path, stopped, changes, is_finished):
    began, cfg = (compose("train", ["resume=auto", "name=x", "backbone_name=x", *more]) for more in ([], changes))
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(began, resolve=True))
    contents = {"end": {key: began.trainer[key] for key in ("max_epochs", "max_steps")}, "results": {"val/top1": 1}}
    contents |= {} if stopped is None else {"stopped": stopped}
    (tmp_path / "results.json").write_text(json.dumps(contents))
    assert (finished(cfg, tmp_path) is not None) == is_finished
