"""The description of a model: it counts everything once, and folds what is equal."""

import pytest
import torch

import visionattn
from tests.contracts.structures import REPRESENTATIVES, shallow
from visionattn.backbones import zoo
from visionattn.backbones.cost import count_macs, count_parameters
from visionattn.backbones.explain import describe


def build(name, **kwargs):
    with torch.device("meta"):
        return visionattn.create_backbone(name, **kwargs)


def everything(part, outer=1):
    """Every part with the number of modules that it stands for."""
    count = outer * len(part.names)
    yield part, count
    for inner in part.parts:
        yield from everything(inner, count)


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_every_parameter_and_multiply_add_is_counted_once(name):
    size = zoo.backbone_files()[name]["card"]["input_size"]
    model = build(name, overrides=shallow(name))
    whole = describe(model, size)
    assert whole.params == count_parameters(model)
    assert whole.macs == count_macs(model, size)[""] == sum(part.macs for part in whole.parts)
    for part, count in everything(whole):
        own = count * sum(torch.Size(shape).numel() for shape in part.weights.values())
        assert part.params == own + sum(inner.params for inner in part.parts), part.names
        assert part.macs >= sum(inner.macs for inner in part.parts), part.names


def test_equal_blocks_are_one_part_and_shifted_ones_another():
    stage = describe(build("swin_tiny"), (3, 224, 224)).parts[3]
    assert (stage.names, stage.shape) == (("stages.2",), (14, 14, 384))
    _, plain, shifted = stage.parts
    assert plain.names == ("blocks.0", "blocks.2", "blocks.4")
    assert shifted.names == ("blocks.1", "blocks.3", "blocks.5")
    mixers = [next(part for part in block.parts if part.names == ("mixer",)) for block in (plain, shifted)]
    assert [mixer.arguments["shifted"] for mixer in mixers] == [False, True]
    assert mixers[0].arguments["window_size"] == (7, 7)
    assert mixers[0].weights == {"bias_table": (12, 13, 13)}
    assert mixers[0].kind == "WindowAttention"


def test_drop_path_of_training_does_not_unfold_the_blocks():
    assert describe(build("swin_tiny", drop_path_rate=0.3), (3, 64, 64)) == describe(build("swin_tiny"), (3, 64, 64))


def test_the_model_stays_as_it_was():
    model = visionattn.create_backbone("swin_pico").train()
    describe(model, (3, 32, 32))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert next(model.parameters()).device.type == "cpu"
