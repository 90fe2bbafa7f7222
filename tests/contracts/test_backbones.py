"""What every backbone in conf/backbone promises. A new file there is tested without a change here."""

import pytest
import timm
import torch
from timm.layers import DropPath

import visionattn
from tests.contracts.structures import NAMES, REPRESENTATIVES, excited, shallow, small, structure
from visionattn.backbones import zoo
from visionattn.backbones.cost import count_gmacs, count_parameters

SIZES = [(32, 32), (33, 47), (64, 40)]
MODELS = [name if name in REPRESENTATIVES else pytest.param(name, marks=pytest.mark.heavy) for name in NAMES]


@pytest.fixture(scope="module", params=REPRESENTATIVES)
def name(request):
    """All tests of one structure follow one another, on copies of one model."""
    return request.param


def test_every_structure_is_represented():
    assert {structure(name) for name in NAMES} == {structure(name) for name in REPRESENTATIVES}
    assert {"swin_pico", "dinat_pico"} <= set(REPRESENTATIVES)


def published(backbone):
    """The model of a card, without memory, and the card."""
    card = zoo.backbone_files()[backbone]["card"]
    with torch.device("meta"):
        return visionattn.create_backbone(backbone, num_classes=card.get("num_classes", 1000)), card


@pytest.mark.parametrize("backbone", NAMES)
def test_parameters_equal_the_card(backbone):
    model, card = published(backbone)
    assert count_parameters(model) == card["params"]
    assert model.feature_info[-1]["num_chs"] == model.num_features


@pytest.mark.parametrize("backbone", MODELS)
def test_gmacs_equal_the_card(backbone):
    model, card = published(backbone)
    rounding = 0.05 if card["paper"] else 0.0  # papers print one decimal
    assert count_gmacs(model, card["input_size"]) == pytest.approx(card["gmacs"], rel=0.01, abs=rounding)


def test_features_are_what_feature_info_says_at_any_size(name):
    model = small(name, features_only=True).eval()
    for height, width in SIZES:
        with torch.inference_mode():
            maps = model(torch.randn(1, 3, height, width))
        assert len(maps) == len(model.feature_info.channels())
        for feature, channels, reduction in zip(
            maps, model.feature_info.channels(), model.feature_info.reduction(), strict=True
        ):
            assert feature.shape == (1, channels, -(-height // reduction), -(-width // reduction))
            assert torch.isfinite(feature).all()


def test_timm_and_we_build_the_same_model(name):
    with torch.device("meta"):
        ours, theirs = visionattn.create_backbone(name, num_classes=5, overrides=shallow(name)), small(name)
    assert str(ours) == str(theirs)
    assert set(timm.list_models("va_*")) == {f"va_{other}" for other in NAMES}


def test_every_parameter_gets_a_gradient_with_and_without_checkpointing(name):
    model = excited(small(name)).train()
    image, gradients, outputs = torch.randn(2, 3, 48, 40), [], []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        model.zero_grad()
        output = model(image)
        (output**2).sum().backward()
        outputs.append(output.detach())
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for parameter_name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0, parameter_name
        assert (gradients[1][parameter_name] - gradient).norm() < 1e-3 * gradient.norm(), parameter_name
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)


def test_images_of_a_batch_do_not_see_each_other(name):
    model = excited(small(name)).eval()
    images = torch.randn(3, 3, 45, 70)
    with torch.inference_mode():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))


def test_every_parameter_has_a_layer_and_layers_are_complete(name):
    with torch.device("meta"):
        model = small(name)
    layers = {n: model.layer_of(n) for n, _ in model.named_parameters()}
    assert set(layers.values()) == set(range(model.num_layers))
    assert layers[model.default_cfg["classifier"] + ".weight"] == model.num_layers - 1
    assert layers[model.default_cfg["first_conv"] + ".weight"] == 0
    with pytest.raises(KeyError):
        model.layer_of("nobody")


def test_position_tables_are_not_decayed(name):
    with torch.device("meta"):
        model = small(name)
    names = dict(model.named_parameters())
    tables = {
        f"{prefix}.{table}"
        for prefix, module in model.named_modules()
        for table in getattr(module, "position_tables", ())
        if getattr(module, table) is not None
    }
    assert tables <= model.no_weight_decay() <= set(names)


def test_drop_path_grows_with_depth(name):
    with torch.device("meta"):
        model = small(name, drop_path_rate=0.3)
    rates = [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]
    assert len(rates) > len(model.stages)
    assert rates == sorted(rates)
    assert rates[0] < 0.15
    assert rates[-1] == pytest.approx(0.3)
