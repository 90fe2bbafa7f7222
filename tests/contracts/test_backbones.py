"""What every backbone in conf/backbone promises. A new file there is tested without a change here."""

import pytest
import timm
import torch
from torch import nn

import visionattn
from visionattn.backbones import zoo
from visionattn.reports.measure import count_gmacs, count_parameters

NAMES = visionattn.list_backbones()
SIZES = [(32, 32), (33, 47), (64, 40)]


def small(name: str, **kwargs) -> nn.Module:
    """The model with at most two blocks a stage: every mechanism, little time."""
    depths = [min(depth, 2) for depth in zoo.backbone_files()[name]["depths"]]
    return visionattn.create_backbone(name, num_classes=5, overrides=[f"depths={depths}"], **kwargs)


def excited(model: nn.Module) -> nn.Module:
    """Random weights in every tensor, so that nothing is hidden by a zero."""
    for param in model.parameters():
        if param.ndim > 1:
            nn.init.normal_(param, std=0.1)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_gmacs_equal_the_card(name):
    model = visionattn.create_backbone(name)
    card = zoo.backbone_files()[name]["card"]
    assert count_parameters(model) == card["params"]
    assert count_gmacs(model, card["input_size"]) == pytest.approx(card["gmacs"], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_what_feature_info_says_at_any_size(name):
    model = small(name, features_only=True).eval()
    for height, width in SIZES:
        maps = model(torch.randn(1, 3, height, width))
        assert len(maps) == len(model.feature_info.channels())
        for feature, channels, reduction in zip(
            maps, model.feature_info.channels(), model.feature_info.reduction(), strict=True
        ):
            assert feature.shape == (1, channels, -(-height // reduction), -(-width // reduction))
            assert torch.isfinite(feature).all()


@pytest.mark.parametrize("name", NAMES)
def test_timm_builds_the_same_model(name):
    ours, theirs = small(name), timm.create_model(f"va_{name}", num_classes=5)
    assert theirs.default_cfg["first_conv"] + ".weight" in theirs.state_dict()
    assert theirs.default_cfg["classifier"] + ".weight" in theirs.state_dict()
    assert type(ours) is type(theirs)
    assert f"va_{name}" in timm.list_models("va_*")


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient_with_and_without_checkpointing(name):
    model = excited(small(name)).train()
    image, gradients, outputs = torch.randn(2, 3, 64, 56), [], []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        model.zero_grad()
        output = model(image)
        (output**2).sum().backward()
        outputs.append(output.detach())
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for parameter_name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0, parameter_name
        torch.testing.assert_close(gradients[1][parameter_name], gradient, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs[1], outputs[0])


@pytest.mark.parametrize("name", NAMES)
def test_classifier_and_features_the_way_timm_offers_them(name):
    model = small(name).eval()
    image = torch.randn(1, 3, 40, 36)
    features = model.forward_features(image)
    assert features.shape[1] == model.num_features
    torch.testing.assert_close(model.forward_head(features), model(image))
    assert model.forward_head(features, pre_logits=True).shape == (1, model.num_features)
    final, maps = model.forward_intermediates(image)
    torch.testing.assert_close(final, features)
    torch.testing.assert_close(model.forward_intermediates(image, indices=1, norm=True, intermediates_only=True)[0], features)
    early = model.forward_intermediates(image, indices=[0], stop_early=True, intermediates_only=True)
    torch.testing.assert_close(early[0], maps[0])
    model.reset_classifier(3)
    assert model(image).shape == (1, 3)
    model.reset_classifier(0)
    assert model(image).shape == (1, model.num_features)
    kept = model.prune_intermediate_layers([0], prune_head=True)
    assert kept == [0]
    assert len(model.stages) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_layer_and_layers_are_complete(name):
    model = small(name)
    layers = {n: model.layer_of(n) for n, _ in model.named_parameters()}
    assert set(layers.values()) == set(range(model.num_layers))
    assert layers["head.fc.weight"] == model.num_layers - 1
    assert layers["stem.conv1.weight"] == 0
    with pytest.raises(KeyError):
        model.layer_of("nobody")


@pytest.mark.parametrize("name", NAMES)
def test_position_tables_are_not_decayed(name):
    model = small(name)
    names = dict(model.named_parameters())
    assert model.no_weight_decay() == {n for n in names if n.endswith("bias_table")}


@pytest.mark.parametrize("name", NAMES)
def test_drop_path_grows_with_depth(name):
    model = small(name, drop_path_rate=0.3)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in model.stages for block in stage.blocks]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.3)
    assert rates == sorted(rates)
