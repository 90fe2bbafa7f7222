"""``weights="timm"``: through timm, here with a stand-in for the network, and a clear error without one."""

import pytest
import timm
import torch

import visionattn
from visionattn.errors import CheckpointError
from visionattn.weights import from_timm

SHORT = ["depths=[1,1,1,1]"]


@pytest.fixture
def published(monkeypatch):
    """timm gives a model with these weights when it is asked for the pretrained one, as it would with a network."""
    real, asked = timm.create_model, []
    weights = real("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1)).state_dict()

    def create_model(name, pretrained=False, num_classes=1000, **kwargs):
        if not pretrained:
            return real(name, num_classes=num_classes, **kwargs)
        asked.append(name)
        model = real(name, num_classes=num_classes, depths=(1, 1, 1, 1), **kwargs)
        kept = {key: value for key, value in weights.items() if num_classes == 1000 or not key.startswith("head")}
        model.load_state_dict(kept, strict=False)
        return model

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(from_timm, "why_out_of_reach", lambda *_, **__: "")
    return weights, asked


def test_the_published_weights_arrive(published):
    weights, asked = published
    model = visionattn.create_backbone("swin_tiny", weights="timm", overrides=SHORT)
    assert asked == ["swin_tiny_patch4_window7_224.ms_in1k"]
    assert torch.equal(model.head.fc.weight, weights["head.fc.weight"])
    assert torch.equal(model.stages[3].downsample.reduction.weight, weights["layers.3.downsample.reduction.weight"])


@pytest.mark.parametrize("num_classes", [0, 5])
def test_another_number_of_classes(published, num_classes):
    weights, _ = published
    model = visionattn.create_backbone("swin_tiny", num_classes=num_classes, weights="timm", overrides=SHORT)
    assert torch.equal(model.norm.weight, weights["norm.weight"])
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, num_classes or 768)


def test_features(published):
    weights, _ = published
    model = visionattn.create_backbone("swin_tiny", features_only=True, weights="timm", overrides=SHORT)
    assert torch.equal(model.model.stem.conv1.weight, weights["patch_embed.proj.weight"])


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    def no_network(*args, **kwargs):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("timm.models._builder.load_pretrained", no_network)
    monkeypatch.setattr(from_timm, "why_out_of_reach", lambda *_, **__: "")
    with pytest.raises(CheckpointError, match=r"swin_tiny_patch4_window7_224\.ms_in1k.*not known.*give the path"):
        visionattn.create_backbone("swin_tiny", weights="timm")


def test_a_model_that_timm_does_not_publish_names_the_official_address():
    with pytest.raises(CheckpointError, match=r"https://shi-labs\.com/.*nat_mini\.pth"):
        visionattn.create_backbone("nat_mini", weights="timm")
    with pytest.raises(CheckpointError, match=r"publishes no weights for this backbone$"):
        visionattn.create_backbone("swin_pico", weights="timm")
