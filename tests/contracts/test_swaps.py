"""Every mixer works in every stage of every backbone, by override alone."""

import pytest
import torch

import visionattn
from tests.contracts.test_mixers import MIXERS
from visionattn.backbones import zoo


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", visionattn.list_backbones("*_pico"))
def test_swap_every_mixer_into_every_stage(name, mixer):
    stages = range(1, len(zoo.backbone_files()[name]["depths"]) + 1)
    overrides = [f"mixer@mixers.s{stage}={mixer}" for stage in stages]
    model = visionattn.create_backbone(name, num_classes=3, overrides=overrides)
    assert model(torch.randn(1, 3, 32, 48)).shape == (1, 3)


def test_a_key_of_the_new_mixer_can_be_set_with_the_swap():
    model = visionattn.create_backbone(
        "dinat_pico", overrides=["mixer@mixers.s3=neighborhood", "mixers.s3.kernel_size=5"]
    )
    assert {block.mixer.kernel_size for block in model.stages[2].blocks} == {(5, 5)}
    assert {block.mixer.kernel_size for block in model.stages[0].blocks} == {(3, 3)}
