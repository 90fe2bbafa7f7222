"""``task.freeze``: what is frozen stays to the bit, in any task; the rest trains."""

from functools import partial

import pytest
import torch
from torch import nn

from tests.training.tiny_run import Data, tiny_task, tiny_trainer
from visionattn.attention import NoMixing, WindowAttention
from visionattn.backbones import HierarchicalBackbone, MapBatchNorm
from visionattn.cli import main
from visionattn.config import compose
from visionattn.errors import ConfigError
from visionattn.heads import ClassificationHead
from visionattn.tasks import ClassificationTask
from visionattn.training import WeightEMA
from visionattn.training.options import TrainingOptions


def backbone():
    torch.manual_seed(0)
    mixers = {"s1": partial(WindowAttention, window_size=2), "s2": NoMixing}
    return HierarchicalBackbone([8, 16], [1, 1], [2, 2], mixers, norm=MapBatchNorm, num_classes=0, drop_path_rate=0.5)


def classification(**options):
    return ClassificationTask(
        backbone(),
        ClassificationHead,
        partial(torch.optim.SGD, lr=0.1),
        num_classes=3,
        monitor="val/top1",
        **options,
    )


def step(task):
    images = torch.randn(4, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    output = task.train().step({"image": images, "target": torch.tensor([0, 1, 2, 0]), "id": list("abcd")})
    output.loss.backward()
    return output.loss.detach()


def moved(module):
    return {name.split(".")[0] for name, param in module.named_parameters() if param.grad is not None}


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        (None, {"stem", "stages", "norm"}),
        ("backbone", set()),
        ("stem", {"stages", "norm"}),
        (["stem", "s1", "s2"], {"norm"}),
    ],
)
def test_frozen_parts_get_no_gradient_and_the_others_do(freeze, trained):
    task = classification(freeze=freeze)
    step(task)
    assert moved(task.backbone) == trained
    assert moved(task.head) == {"classifier"}
    groups = task.build_optimizer(10, 5, 4)["optimizer"].param_groups
    in_groups = {id(param) for group in groups for param in group["params"]}
    assert in_groups == {id(param) for param in task.parameters() if param.requires_grad}


def test_a_stage_in_the_middle_lets_the_gradient_through():
    task = classification(freeze=["s2"])
    step(task)
    assert all(param.grad is None for param in task.backbone.stages[1].parameters())
    assert all(float(param.grad.abs().sum()) > 0 for param in task.backbone.stages[0].blocks[0].mixer.parameters())


def test_frozen_statistics_and_drop_path_are_those_of_evaluation():
    task = classification(freeze="backbone", label_smoothing=0.0)
    before = {name: value.clone() for name, value in task.backbone.state_dict().items()}
    losses = {float(step(task)) for _ in range(3)}
    assert len(losses) == 1  # drop path would draw
    for name, value in task.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert task.training
    assert task.head.training
    assert not any(module.training for module in task.backbone.modules())
    assert task.eval().train().training  # and still after an evaluation
    assert not task.backbone.norm.training
    running = classification(freeze=["stem", "s1"]).train()
    assert running.backbone.norm.training
    assert not running.backbone.stages[0].training


@pytest.mark.filterwarnings("ignore")
def test_a_run_with_averaged_weights_leaves_them_to_the_bit(tmp_path):
    task = tiny_task(freeze="backbone")
    before = {name: value.clone() for name, value in task.state_dict().items()}
    tiny_trainer(tmp_path, WeightEMA(decay=0.5), max_epochs=2).fit(task, datamodule=Data())
    after = task.state_dict()
    assert torch.equal(after["backbone.layer.weight"], before["backbone.layer.weight"])
    assert not torch.equal(after["head.layer.weight"], before["head.layer.weight"])


def test_what_cannot_be_frozen_is_refused_with_what_can():
    with pytest.raises(ConfigError, match=r"task\.freeze=s3: HierarchicalBackbone .* from backbone, stem, s1, s2"):
        classification(freeze=["stem", "s3"])
    with pytest.raises(ConfigError, match=r"task\.freeze=stem: Backbone .* choose from backbone$"):
        tiny_task(freeze="stem")

    class Means(nn.Module):
        def __init__(self, feature_info):
            super().__init__()

        def forward(self, features):
            return features[0].mean(-1)

    task = tiny_task(freeze="backbone")
    task.head = Means(None)
    with pytest.raises(ConfigError, match="leaves no parameter to train"):
        task.build_optimizer(10, 5, 4)


@pytest.mark.parametrize("name", ["classification", "detection", "segmentation", "panoptic"])
def test_every_task_has_the_key(name):
    assert compose("train", [f"task={name}"]).task.freeze is None
    assert TrainingOptions.of({"freeze": "backbone"}, name).freeze == "backbone"


@pytest.mark.heavy
def test_nothing_warns_of_parts_that_are_frozen_on_purpose(tmp_path, capsys):
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"]
    words = ["data=digits", "backbone=swin_pico", "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main(["train", *words, *short, "data.num_workers=0", "task.freeze=backbone"]) == 0, capsys.readouterr().err
