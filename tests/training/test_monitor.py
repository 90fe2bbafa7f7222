"""A figure to choose the best checkpoint by that no evaluator gives is refused before the first step."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import EarlyStopping

from tests.training.tiny_run import Data, Score, tiny_task, tiny_trainer
from visionattn.errors import ConfigError
from visionattn.tasks import ClassificationEvaluator
from visionattn.tasks.panoptic.metric import PanopticQualityEvaluator, figures
from visionattn.tasks.segmentation.metric import BoundaryIoUEvaluator, SemanticEvaluator
from visionattn.training.monitor import check_monitors

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def evaluators():
    one = ClassificationEvaluator()
    one.setup(SimpleNamespace(num_classes=10))
    return {"classification": one}


@pytest.mark.parametrize("name", ["val/top1", "val/top5", "val/loss", "train/loss"])
def test_what_is_there_passes(evaluators, name):
    check_monitors([name], evaluators)


@pytest.mark.parametrize(
    ("name", "near"),
    [("val/top_1", "val/top1"), ("top1", "val/top1"), ("val_loss", "val/loss"), ("val/acc1", "")],
)
def test_what_is_not_there_is_answered_with_the_nearest_and_all(evaluators, name, near):
    with pytest.raises(ConfigError) as caught:
        check_monitors([name], evaluators)
    assert f"task.monitor={name}: no evaluator gives it" in str(caught.value)
    assert f"did you mean {near}?" in str(caught.value) or not near
    assert "(there are val/loss, val/top1, val/top5)" in str(caught.value)


def test_two_evaluators_of_one_name_are_told_apart():
    check_monitors(["val/score", "val/b_score"], {"a": Score(), "b": Score()})


def test_figures_that_are_not_known_beforehand_pass():
    unknown = Score()
    unknown.figures = None
    check_monitors(["val/anything"], {"a": unknown})


def test_evaluators_name_what_they_give():
    import torch

    assert set(PanopticQualityEvaluator.figures) == set(figures(torch.ones(4, 2), [True, False]))
    assert (SemanticEvaluator().figures, BoundaryIoUEvaluator().figures) == (
        ("mIoU", "mAcc", "aAcc"),
        ("boundary_mIoU",),
    )


def test_it_comes_before_the_first_step_for_callbacks_too(tmp_path):
    for task, callbacks in (
        (tiny_task(monitor="val/scor"), []),
        (tiny_task(), [EarlyStopping("val/scor", mode="max")]),
    ):
        trainer = tiny_trainer(tmp_path, *callbacks)
        with pytest.raises(ConfigError, match=r"did you mean val/score\?"):
            trainer.fit(task, datamodule=Data())
        assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("monitor", "mode", "said"),
    [("val/score", "maximum", "max or min"), ("val/loss", "max", "best where it is least: set task.monitor_mode=min")],
)
def test_the_mode_is_checked(monitor, mode, said):
    with pytest.raises(ConfigError, match=said):
        tiny_task(monitor=monitor, monitor_mode=mode)


def test_a_detector_knows_its_figures_before_the_first_step():
    from visionattn.tasks import CocoEvaluator

    with_masks, without = CocoEvaluator(), CocoEvaluator()
    without.expect(masks=False)
    check_monitors(["val/box_ap50", "val/mask_ap"], {"coco": with_masks}, has_loss=False)
    for name, near in (("val/box_map", "val/box_ap"), ("val/mask_ap", "val/box_ap"), ("val/loss", "val/box_ap")):
        with pytest.raises(ConfigError, match=f"task.monitor={name}: no evaluator gives it; did you mean {near}"):
            check_monitors([name], {"coco": without}, has_loss=False)
