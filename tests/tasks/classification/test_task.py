"""The classification task, without a trainer."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

import visionattn
from visionattn.data.classes import ClassInfo
from visionattn.errors import ConfigError
from visionattn.heads import ClassificationHead
from visionattn.tasks import ClassificationEvaluator, ClassificationTask


def build(num_classes=10, **kwargs):
    return ClassificationTask(
        visionattn.create_backbone("swin_pico", num_classes=0),
        ClassificationHead,
        partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.05),
        num_classes=num_classes,
        monitor="val/top1",
        **kwargs,
    )


def set_up(task):
    data = SimpleNamespace(num_classes=task.num_classes, class_info=ClassInfo([str(k) for k in range(10)]))
    task._trainer = SimpleNamespace(datamodule=data, strategy=None)
    task.setup("fit")


@pytest.fixture
def batch():
    return {"image": torch.randn(4, 3, 32, 32), "target": torch.tensor([1, 2, 3, 4]), "id": list("abcd")}


def test_training_loss_is_smoothed_cross_entropy(batch):
    task = build(label_smoothing=0.1).train()
    output = task.step(batch)
    expected = torch.nn.functional.cross_entropy(output.prediction, batch["target"], label_smoothing=0.1)
    torch.testing.assert_close(output.loss, expected)


def test_validation_loss_is_plain_cross_entropy(batch):
    task = build(label_smoothing=0.1, mixup_alpha=0.8).eval()
    output = task.step(batch)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.prediction, batch["target"]))


def test_mixup_changes_images_and_targets_in_training_only(batch):
    task = build(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.0).train()
    original = batch["image"].clone()
    output = task.step(batch | {"image": batch["image"].clone()})
    plain = torch.nn.functional.cross_entropy(output.prediction, batch["target"])
    assert not torch.isclose(output.loss, plain)
    task.eval().step(batch)
    assert torch.equal(batch["image"], original)


def test_top1_and_top5_are_percentages():
    data = SimpleNamespace(num_classes=10)
    evaluator = build().evaluators["classification"]
    evaluator.setup(data)
    evaluator.update(torch.eye(10), {"target": torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 8])})
    values = evaluator.compute(data)
    assert values["top1"] == pytest.approx(90.0)
    assert 90.0 <= values["top5"] <= 100.0


def test_no_top5_for_five_classes():
    evaluator = ClassificationEvaluator()
    evaluator.setup(SimpleNamespace(num_classes=5))
    evaluator.update(torch.eye(5), {"target": torch.arange(5)})
    assert evaluator.compute(SimpleNamespace(num_classes=5)) == {"top1": 100}


def test_channels_last_and_checkpointing_do_not_change_the_output(batch):
    torch.manual_seed(1)
    plain = build()
    other = build(channels_last=True, grad_checkpointing=True)
    other.load_state_dict(plain.state_dict())
    set_up(other)
    torch.testing.assert_close(other.train()(batch["image"]), plain.train()(batch["image"]), rtol=1e-4, atol=1e-5)
    assert other.backbone.stem.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_compiling_leaves_no_trace_in_the_checkpoint():
    task = build(compile=True)
    set_up(task)
    assert task.state_dict().keys() == build().state_dict().keys()


def test_layer_decay_needs_a_backbone_that_knows_its_layers():
    class Plain(torch.nn.Module):
        feature_info = [{"num_chs": 8, "reduction": 4}]  # noqa: RUF012

        def forward_intermediates(self, x, **kwargs):
            return [x]

    with pytest.raises(ValueError, match="layer_decay needs a backbone with layer_of"):
        ClassificationTask(
            Plain(), ClassificationHead, partial(torch.optim.AdamW), num_classes=2, monitor="x", layer_decay=0.7
        )


def test_a_head_may_be_the_backbones_own_classifier():
    from visionattn.backbones.classifier import PoolNormHead
    from visionattn.heads import ClassificationHead

    head = ClassificationHead([{"num_chs": 8}], 5, classifier=partial(PoolNormHead, hidden=True))
    assert head([torch.randn(2, 8, 3, 3)]).shape == (2, 5)
    names = {name for name, _ in head.named_parameters()}
    assert {"classifier.norm.weight", "classifier.pre_logits.fc.weight", "classifier.fc.bias"} <= names


@pytest.mark.parametrize("count", [1, 3, 5])
def test_an_odd_batch_is_mixed_but_for_its_last_image(count):
    task = build(mixup_alpha=0.8, cutmix_alpha=1.0).train()
    images, target = torch.randn(count, 3, 32, 32), torch.arange(count)
    mixed, soft = task._mix(images.clone(), target)
    assert torch.equal(mixed[-1], images[-1])
    assert torch.equal(soft[-1], torch.nn.functional.one_hot(target[-1], 10).to(soft.dtype))
    assert all(not torch.equal(mixed[i], images[i]) for i in range(count - 1))
    torch.testing.assert_close(soft.sum(1), torch.ones(count))
    assert task.step({"image": images, "target": target}).loss.isfinite()


@pytest.mark.parametrize(
    ("name", "value"), [("label_smoothing", 1.5), ("label_smoothing", -0.1), ("mixup_prob", 2.0), ("mixup_alpha", -1.0)]
)
def test_impossible_values_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"{name}.*{value}"):
        build(**{name: value})


def test_a_batch_norm_that_sees_a_single_value_is_one_sentence(batch):
    task = build().train()
    task.head = torch.nn.Sequential(task.head, torch.nn.BatchNorm1d(10))
    with pytest.raises(ConfigError, match=r"a batch of 1.*data\.batch_size"):
        task.training_step({name: value[:1] for name, value in batch.items()}, 0)
