"""A value of the wrong type is refused with its key, before anything is built from it."""

from collections.abc import Sequence
from typing import Literal

import pytest
import torch

from visionattn.config import instantiate
from visionattn.config.types import check_argument, check_defaults
from visionattn.data import ClassificationData
from visionattn.errors import ConfigError
from visionattn.tasks import ClassificationTask


def takes(
    number: int = 1,
    rate: float | None = None,
    sizes: int | Sequence[int] = 1,
    rule: Literal["a", "b"] = "a",
    open_ended: object = None,
    lr: float | torch.Tensor = 0.1,
) -> None: ...


RIGHT = [("number", 3), ("rate", 1), ("rate", None), ("sizes", [1, 2]), ("rule", "b"), ("open_ended", "x"), ("no", "x")]
WRONG = [
    ("number", "abc", "x.number must be a whole number, got the text 'abc'"),
    ("number", 1.5, "x.number must be a whole number, got 1.5"),
    ("number", True, "x.number must be a whole number, got True"),
    ("number", None, "x.number must be a whole number, got null"),
    ("rate", "fast", "x.rate must be a number or null, got the text 'fast'"),
    ("sizes", ["a"], "x.sizes must be a whole number or a list"),
    ("rule", "c", "x.rule must be a or b, got the text 'c'"),
    ("lr", "abc", "x.lr must be a number, got the text 'abc'"),
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_right_types(name, value):
    check_argument(takes, name, value, f"x.{name}")


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_wrong_types(name, value, message):
    with pytest.raises(ConfigError) as caught:
        check_argument(takes, name, value, f"x.{name}")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("target", "name"),
    [(ClassificationTask, "compile"), (ClassificationTask, "channels_last"), (ClassificationData, "num_workers")],
)
def test_arguments_that_are_handed_on_have_types_too(target, name):
    with pytest.raises(ConfigError, match=f"{name} must be"):
        check_argument(target, name, "perhaps", name)


def test_the_key_that_a_person_sets_is_named():
    from omegaconf import OmegaConf

    node = OmegaConf.create({"optim": {"_target_": "torch.nn.Linear", "in_features": "x", "out_features": 1}})
    node.outer = {"_target_": "torch.nn.Sequential", "_args_": [], "inner": "${optim}"}
    with pytest.raises(ConfigError, match=r"^optim\.in_features must be a whole number"):
        instantiate(node.outer)


def test_defaults_of_a_file_give_types_too():
    defaults = {"seed": 0, "options": {"private": False, "score": 0.5}, "run_dir": None, "built": {"_target_": "x"}}
    check_defaults({"seed": 3, "options": {"private": True, "score": 1}, "run_dir": "x", "built": {}}, defaults)
    for key, value, message in (
        ("seed", "abc", "seed must be a whole number, got the text 'abc'"),
        ("seed", -1, "seed must be a whole number from 0 on, got -1"),
        ("seed", 2**32, "seed must be a whole number from 0 to 4294967295, got 4294967296"),
        ("options", {"private": "no"}, "options.private must be true or false, got the text 'no'"),
        ("options", {"score": "high"}, "options.score must be a number, got the text 'high'"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_defaults({key: value}, defaults)
        assert str(caught.value) == message
