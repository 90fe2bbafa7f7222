"""Which parameters decay, and how fast each layer learns."""

import pytest
import torch

import visionattn
from visionattn.heads import ClassificationHead
from visionattn.training.parameter_groups import parameter_groups


@pytest.fixture
def parts():
    backbone = visionattn.create_backbone("swin_pico", num_classes=0)
    return backbone, ClassificationHead(backbone.feature_info, 10)


def test_every_parameter_is_in_one_group(parts):
    groups = parameter_groups(*parts, weight_decay=0.05)
    grouped = [id(param) for group in groups for param in group["params"]]
    expected = [id(param) for part in parts for param in part.parameters()]
    assert sorted(grouped) == sorted(expected)


def test_norms_biases_and_position_tables_do_not_decay(parts):
    groups = parameter_groups(*parts, weight_decay=0.05)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, param in parts[0].named_parameters():
        assert (id(param) in decayed) == (param.ndim > 1 and not name.endswith("bias_table")), name
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}


def test_layer_decay_slows_the_layers_near_the_image(parts):
    backbone, head = parts
    scales = {}
    for group in parameter_groups(backbone, head, weight_decay=0.0, layer_decay=0.5):
        scales |= {id(param): group["lr_scale"] for param in group["params"]}
    for name, param in backbone.named_parameters():
        assert scales[id(param)] == 0.5 ** (backbone.num_layers - 1 - backbone.layer_of(name))
    assert {scales[id(param)] for param in head.parameters()} == {1.0}
    assert min(scales.values()) == scales[id(backbone.stem.conv1.weight)]


def test_frozen_parameters_are_left_out(parts):
    parts[0].stem.requires_grad_(False)
    frozen = {id(param) for param in parts[0].stem.parameters()}
    assert not frozen & {id(p) for group in parameter_groups(*parts, weight_decay=0.1) for p in group["params"]}


@pytest.mark.parametrize("value", [0.0, 1.1, -1.0])
def test_an_impossible_layer_decay_is_refused(parts, value):
    with pytest.raises(ValueError, match="layer_decay must be in"):
        parameter_groups(*parts, weight_decay=0.0, layer_decay=value)


def test_the_scale_reaches_the_optimizer_through_the_schedule(parts):
    from visionattn.training.schedule import cosine

    optimizer = torch.optim.AdamW(parameter_groups(*parts, weight_decay=0.0, layer_decay=0.5), lr=1.0)
    schedule = cosine(optimizer, total_steps=100, steps_per_epoch=10, warmup_epochs=0, min_lr=0.0)
    schedule.step_update(50)
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(0.5 * group["lr_scale"], rel=1e-6)


def test_the_whole_backbone_may_learn_more_slowly(parts):
    backbone, head = parts
    for layer_decay in (None, 0.5):
        scales = {}
        for group in parameter_groups(backbone, head, weight_decay=0.0, layer_decay=layer_decay, backbone_scale=0.1):
            scales |= {id(param): group["lr_scale"] for param in group["params"]}
        for name, param in backbone.named_parameters():
            below = backbone.num_layers - 1 - backbone.layer_of(name)
            assert scales[id(param)] == pytest.approx(0.1 * (layer_decay or 1.0) ** below)
        assert {scales[id(param)] for param in head.parameters()} == {1.0}


def test_a_head_may_name_what_does_not_decay(parts):
    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.queries, self.out = torch.nn.Embedding(3, 4), torch.nn.Linear(4, 4)

        def no_weight_decay(self):
            return {"queries.weight"}

    head = Head()
    decayed = {
        id(p) for g in parameter_groups(parts[0], head, weight_decay=0.05) if g["weight_decay"] for p in g["params"]
    }
    assert id(head.queries.weight) not in decayed
    assert id(head.out.weight) in decayed
