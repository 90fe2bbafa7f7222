"""Grouped options: passed one by one, received as objects, refused by name."""

import inspect
from dataclasses import dataclass

import pytest

from visionattn.backbones import HierarchicalBackbone
from visionattn.config import instantiate
from visionattn.errors import ConfigError
from visionattn.heads.detection import RegionHeads
from visionattn.options import grouped


@dataclass(frozen=True)
class Limits:
    most: int = 3
    least: int = 1


class Example:
    @grouped(limits=Limits)
    def __init__(self, size: int, *, limits: Limits, name: str = ""):
        self.size, self.limits, self.name = size, limits, name


class Special(Example):
    def __init__(self, other: int):
        super().__init__(other, most=7)


def test_fields_are_passed_one_by_one():
    example = Example(2, least=0, name="a")
    assert (example.size, example.limits, example.name) == (2, Limits(3, 0), "a")
    assert Special(4).limits == Limits(7, 1)


def test_the_signature_shows_the_fields():
    parameters = inspect.signature(Example).parameters
    assert list(parameters) == ["size", "most", "least", "name"]
    assert parameters["most"].default == 3
    assert list(inspect.signature(Special).parameters) == ["other"]


@pytest.mark.parametrize("name", ["moast", "limits"])
def test_other_names_are_refused(name):
    with pytest.raises(TypeError, match=rf"^Example takes no argument {name}.*\(it takes size, most, least, name\)$"):
        Example(1, **{name: 5})


def test_a_configuration_names_the_key_and_the_nearest_one():
    node = {"_target_": "visionattn.heads.detection.RegionHeads", "channels": 8, "num_maps": 1, "num_classes": 3}
    assert instantiate(node | {"per_image": 7}).detections_per_img == 7
    with pytest.raises(ConfigError, match=r"takes no argument per_imag\b.*per_image"):
        instantiate(node | {"per_imag": 7})


def test_no_constructor_of_ours_has_more_than_twelve_arguments():
    for kind in (HierarchicalBackbone, RegionHeads):
        assert len(inspect.signature(kind.__init__.__wrapped__).parameters) - 1 <= 12
