"""Shapes that do not fit are answered with a sentence: those of mixers, and of what goes into a backbone."""

import pytest
import torch
from torch import nn

import visionattn
from visionattn.backbones.checks import mixers_checked
from visionattn.errors import ConfigError


class Shortened(nn.Module):
    """A mixer that loses a row."""

    def forward(self, x, context=None):
        return x[:, 1:]


class Pair(nn.Module):
    """A mixer that returns two things."""

    def forward(self, x, context=None):
        return x, x


@pytest.mark.parametrize(
    ("mixer", "returned"), [(Shortened, r"\(1, 7, 8, 48\)"), (Pair, "a tuple")], ids=["shape", "tuple"]
)
def test_a_mixer_that_returns_something_else_is_named(mixer, returned):
    model = visionattn.create_backbone("dinat_pico", num_classes=0)
    model.stages[0].blocks[1].mixer = mixer()
    named = rf"mixer s1 \({mixer.__module__}.{mixer.__name__}\) returned {returned}, expected \(1, 8, 8, 48\)"
    with mixers_checked(model), pytest.raises(ConfigError, match=named):
        model(torch.zeros(1, 3, 32, 32))
    with pytest.raises(Exception, match=r"size|tuple"):  # unchecked again
        model(torch.zeros(1, 3, 32, 32))


def test_mixers_of_the_right_shape_pass():
    model = visionattn.create_backbone("swin_pico", num_classes=0)
    with mixers_checked(model):
        assert model(torch.zeros(1, 3, 40, 24)).shape[0] == 1


@pytest.mark.parametrize("call", ["__call__", "forward_features", "forward_intermediates"])
def test_an_image_that_is_no_batch_is_answered_with_how_to_make_one(call):
    model = visionattn.create_backbone("dinat_pico", num_classes=0)
    with pytest.raises(ValueError, match=r"got a tensor of shape \(3, 32, 32\); images\[None\] makes a batch"):
        getattr(model, call)(torch.zeros(3, 32, 32))
