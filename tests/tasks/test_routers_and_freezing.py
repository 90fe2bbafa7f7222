"""Losses of modules and frozen stages, through the training step of every task, plain and compiled."""

from functools import partial

import pytest
import torch

from tests.tasks.detection.test_task import HEAD as DETECTOR
from tests.tasks.detection.test_task import batch as detection_batch
from visionattn.attention import GatedHeads, HeadRouter, Pooling, WindowAttention
from visionattn.backbones import HierarchicalBackbone
from visionattn.heads import ClassificationHead
from visionattn.heads.segmentation import FullyConvolutional, SegmentationHead, UPerNet
from visionattn.tasks import ClassificationTask, DetectionTask, SegmentationTask
from visionattn.training import compiling

SGD = partial(torch.optim.SGD, lr=0.1)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def backbone():
    """Four small stages; the second and the third have routers."""
    torch.manual_seed(0)
    routed = GatedHeads(partial(WindowAttention, window_size=4), HeadRouter)
    mixers = {"s1": Pooling, "s2": routed, "s3": routed, "s4": Pooling}
    return HierarchicalBackbone([8, 16, 16, 16], [1, 1, 1, 1], [2, 4, 4, 4], mixers, num_classes=0)


def classification(**options):
    task = ClassificationTask(backbone(), ClassificationHead, SGD, num_classes=3, monitor="val/top1", **options)
    return task, {"image": IMAGES, "target": torch.tensor([0, 2])}


def detection(**options):
    return DetectionTask(backbone(), DETECTOR, SGD, num_classes=3, monitor="val/box_ap", **options), detection_batch()


def segmentation(**options):
    head = partial(
        SegmentationHead,
        decoder=partial(UPerNet, channels=8, pool_sizes=[1, 2]),
        auxiliary=partial(FullyConvolutional, channels=8),
    )
    task = SegmentationTask(backbone(), head, SGD, num_classes=3, monitor="val/mIoU", **options)
    return task, {"image": IMAGES, "target": torch.zeros(2, 64, 64, dtype=torch.int64)}


def panoptic(**options):
    pytest.importorskip("transformers")
    from tests.tasks.panoptic.test_task import INFO, SMALL, batch
    from visionattn.heads.panoptic import Mask2Former
    from visionattn.tasks.panoptic.task import PanopticTask

    task = PanopticTask(backbone(), partial(Mask2Former, **SMALL), SGD, num_classes=3, monitor="val/PQ", **options)
    task.class_info = INFO
    return task, batch()


TASKS = pytest.mark.parametrize("build", [classification, detection, segmentation, panoptic])


def step(task, batch):
    """One training step, and what it logs."""
    logged = {}
    task._is_logged = lambda: True
    task.log = lambda name, value, **_: logged.update({name: float(value)})
    task.log_dict = lambda values, **_: logged.update({name: float(value) for name, value in values.items()})
    task.train().training_step({"id": ["a", "b"]} | batch, 0).backward()
    return logged


@TASKS
def test_the_loss_of_a_router_is_added_logged_and_trains_it(build):
    task, batch = build()
    logged = step(task, batch)
    assert 0.003 < logged["train/loss_auxiliary"] < 0.03
    scores = [param.grad for name, param in task.named_parameters() if name.endswith("gate.score.weight")]
    assert scores
    assert all(float(grad.abs().sum()) > 0 for grad in scores)


@TASKS
def test_a_frozen_stage_has_neither_gradient_nor_loss(build):
    task, batch = build(freeze=["stem", "s1", "s2", "s3"])
    logged = step(task, batch)
    assert "train/loss_auxiliary" not in logged
    for name, param in task.backbone.named_parameters():
        assert (param.grad is None) == (not name.startswith(("stages.3.", "norm."))), name
    assert any(param.grad is not None for param in task.head.parameters())


@pytest.mark.heavy
@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_routers_give_the_same_loss_and_gradient(dynamic, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    plain, batch = classification()
    expected = step(plain, batch)
    task, _ = classification(compile=True)
    if dynamic:
        task.compile_parts(dynamic=True)
    else:
        task._region = task.compiling.whole("all", task._uncompiled, evaluation=True)
    found = step(task, batch)
    assert found["train/loss_auxiliary"] == pytest.approx(expected["train/loss_auxiliary"], rel=1e-5)
    for (name, param), other in zip(plain.named_parameters(), task.parameters(), strict=True):
        torch.testing.assert_close(other.grad, param.grad, rtol=1e-3, atol=1e-6, msg=name)
    assert task.compiling.facts()["graph_breaks"] == []
