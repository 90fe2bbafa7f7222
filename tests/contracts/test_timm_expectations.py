"""What timm's own tests ask of every model, asked of ours as timm registers them."""

import pytest
import timm
import torch

from tests.contracts.structures import REPRESENTATIVES, excited, small

IMAGE = (1, 3, 64, 48)


@pytest.fixture(scope="module", params=REPRESENTATIVES)
def name(request):
    """All tests of one structure follow one another, on copies of one model."""
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return excited(small(name)).eval()


def test_forward(model):
    with torch.inference_mode():
        logits = model(torch.randn(2, *IMAGE[1:]))
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()


def test_default_cfg(model):
    cfg, state = model.pretrained_cfg, model.state_dict()
    assert cfg["first_conv"] + ".weight" in state
    assert cfg["classifier"] + ".weight" in state
    assert cfg["num_classes"] >= 0
    assert len(cfg["input_size"]) == 3
    data = timm.data.resolve_model_data_config(model)
    assert data["input_size"] == tuple(cfg["input_size"])
    assert 0 < data["crop_pct"] <= 1


def test_forward_head_after_forward_features(model):
    image = torch.randn(IMAGE)
    with torch.inference_mode():
        features = model.forward_features(image)
        assert features.ndim == 4
        assert features.shape[1] == model.num_features
        torch.testing.assert_close(model.forward_head(features), model(image))
        assert model.forward_head(features, pre_logits=True).shape == (1, model.head_hidden_size)


def test_forward_intermediates(model):
    image = torch.randn(IMAGE)
    with torch.inference_mode():
        final, maps = model.forward_intermediates(image)
        torch.testing.assert_close(final, model.forward_features(image))
        assert [m.shape[1] for m in maps] == [info["num_chs"] for info in model.feature_info]
        torch.testing.assert_close(model.forward_intermediates(image, [1], intermediates_only=True)[0], maps[1])
        early = model.forward_intermediates(image, indices=[0], stop_early=True, intermediates_only=True)
        torch.testing.assert_close(early[0], maps[0])
        last = model.forward_intermediates(image, indices=1, norm=True, intermediates_only=True)[0]
        assert last.shape == final.shape
        nhwc = model.forward_intermediates(image, output_fmt="NHWC", intermediates_only=True)
        torch.testing.assert_close(nhwc[0], maps[0].permute(0, 2, 3, 1))


def test_reset_classifier_and_models_without_one(name):
    image, model = torch.randn(IMAGE), small(name).eval()
    with torch.inference_mode():
        model.reset_classifier(3)
        assert model(image).shape == (1, 3)
        assert model.get_classifier().out_features == model.num_classes == 3
        model.reset_classifier(0)
        assert model(image).shape == (1, model.head_hidden_size)
        model.reset_classifier(0, "")
        assert model(image).shape == model.forward_features(image).shape
        model.reset_classifier(4, "avg")
        assert model(image).shape == (1, 4)
    with torch.device("meta"):
        headless = small(name, num_classes=0, global_pool="")
    assert headless.num_classes == 0
    assert not any(key.startswith(model.pretrained_cfg["classifier"]) for key in headless.state_dict())


def test_features_only_with_out_indices(name):
    for indices in ((0, 1), (-1,)):
        with torch.device("meta"), torch.inference_mode():
            model = small(name, features_only=True, out_indices=indices).eval()
            maps = model(torch.randn(IMAGE))
        assert [m.shape[1] for m in maps] == model.feature_info.channels()
        assert [IMAGE[2] // m.shape[2] for m in maps] == model.feature_info.reduction()


def test_prune_intermediate_layers(name):
    model = small(name).eval()
    assert model.prune_intermediate_layers([0], prune_head=True) == [0]
    assert len(model.stages) == 1
    with torch.inference_mode():
        assert model(torch.randn(IMAGE)).shape[1] == model.num_features == model.feature_info[0]["num_chs"]


def test_state_dict_goes_round(model, name):
    other = small(name)
    other.load_state_dict(model.state_dict())
    image = torch.randn(IMAGE)
    with torch.inference_mode():
        torch.testing.assert_close(other.eval()(image), model(image), rtol=0, atol=0)
