"""instantiate: Hydra's keys, plain containers, and errors that name the config key."""

import functools
import pickle
import sys

import pytest
import torch
from omegaconf import OmegaConf

from visionattn.config import instantiate
from visionattn.errors import ConfigError, DataError

LINEAR = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 4}


def test_builds_nested_objects_and_lists():
    cfg = OmegaConf.create(
        {"net": {"_target_": "torch.nn.Sequential", "_args_": [LINEAR, {"_target_": "torch.nn.GELU"}]}}
    )
    net = instantiate(cfg.net)
    assert isinstance(net[0], torch.nn.Linear)
    assert isinstance(net[1], torch.nn.GELU)


def test_interpolations_reach_outside_the_node():
    cfg = OmegaConf.create({"width": 7, "net": {**LINEAR, "out_features": "${width}"}})
    assert instantiate(cfg.net).out_features == 7


def test_partial_lists_and_kwargs():
    node = OmegaConf.create({"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1, "betas": [0.8, 0.9]})
    optim = instantiate(node)
    assert isinstance(optim, functools.partial)
    assert type(optim.keywords["betas"]) is list
    assert optim(torch.nn.Linear(2, 2).parameters()).defaults["betas"] == (0.8, 0.9)
    assert pickle.loads(pickle.dumps(optim)).keywords == optim.keywords
    weight = [torch.nn.Parameter(torch.zeros(2))]
    assert instantiate({"_target_": "torch.optim.SGD", "lr": 1.0}, params=weight, lr=0.5).defaults["lr"] == 0.5


def test_keyword_objects_pass_as_they_are():
    marker = object()
    module = instantiate({"_target_": "torch.nn.ModuleDict"}, modules=None)
    assert isinstance(module, torch.nn.ModuleDict)
    held = instantiate({"_target_": "torch.nn.Linear", "_partial_": True}, device=marker)
    assert held.keywords["device"] is marker


def test_what_is_no_target_becomes_plain():
    built = instantiate(OmegaConf.create({"a": [1, {"b": 2}], "c": None}))
    assert built == {"a": [1, {"b": 2}], "c": None}
    assert type(built["a"]) is list
    assert instantiate(None) is None


def test_not_recursive_keeps_nodes_plain():
    built = instantiate({"_target_": "torch.nn.Linear", "_partial_": True, "_recursive_": False, "device": LINEAR})
    assert built.keywords["device"] == LINEAR


def test_unknown_argument_names_key_and_nearest():
    cfg = OmegaConf.create({"model": {"stem": {**LINEAR, "in_feature": 3}}})
    with pytest.raises(ConfigError) as caught:
        instantiate(cfg.model.stem)
    assert "model.stem.in_feature" in str(caught.value)
    assert "did you mean in_features?" in str(caught.value)


def test_partial_arguments_are_checked_when_made():
    with pytest.raises(ConfigError, match=r"mixers\.s1\.window_size: torch\.nn\.GELU takes no argument window_size"):
        instantiate({"mixers": {"s1": {"_target_": "torch.nn.GELU", "_partial_": True, "window_size": 7}}})


def test_missing_argument_and_missing_value():
    with pytest.raises(ConfigError, match=r"net: torch\.nn\.Linear: missing a required argument: 'out_features'"):
        instantiate({"net": {"_target_": "torch.nn.Linear", "in_features": 3}})
    with pytest.raises(ConfigError, match=r"net\.in_features needs a value"):
        instantiate({"net": {**LINEAR, "in_features": "???"}})


def test_failing_constructor_names_the_key_and_the_reason():
    cfg = OmegaConf.create({"net": {"head": {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4}}})
    cfg.net.head.update({"kernel_size": 3, "groups": 2})
    with pytest.raises(ConfigError, match=r"net\.head: torch\.nn\.Conv2d could not be built: ValueError: in_channels"):
        instantiate(cfg)


def test_failing_partial_names_its_own_key():
    cfg = OmegaConf.create({"a": {"b": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": -1.0}}})
    partial = instantiate(cfg)["a"]["b"]
    with pytest.raises(ValueError, match="Invalid learning rate") as caught:
        partial([torch.nn.Parameter(torch.zeros(1))])
    assert any("a.b" in note for note in caught.value.__notes__)


def test_a_partial_that_fails_inside_another_target_names_the_partial(tmp_path, monkeypatch):
    (tmp_path / "own_builders.py").write_text("def outer(make):\n    return make('x')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    cfg = {"outer": {"_target_": "own_builders.outer", "make": {"_target_": "torch.nn.Dropout", "_partial_": True}}}
    with pytest.raises(ConfigError, match=r"^outer\.make: "):
        instantiate(cfg, allow=["own_builders"])


def test_other_errors_keep_their_type(tmp_path, monkeypatch):
    text = "from visionattn.errors import DataError\n\ndef data():\n    raise DataError('no folder')\n"
    text += "\ndef bug():\n    raise ZeroDivisionError('oops')\n"
    (tmp_path / "own_errors.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        instantiate({"d": {"_target_": "own_errors.data"}}, allow=["own_errors"])
    with pytest.raises(ZeroDivisionError) as caught:
        instantiate({"d": {"_target_": "own_errors.bug"}}, allow=["own_errors"])
    assert any("config key d" in note for note in caught.value.__notes__)


def test_a_name_that_does_not_exist():
    with pytest.raises(ConfigError, match=r"has no Linaer; did you mean Linear\?"):
        instantiate({"_target_": "torch.nn.Linaer"})


@pytest.mark.parametrize("flag", ["_partial_", "_recursive_"])
def test_flags_are_booleans(flag):
    with pytest.raises(ConfigError, match=f"net.{flag}"):
        instantiate({"net": {**LINEAR, flag: "yes"}})


def test_args_are_a_list():
    with pytest.raises(ConfigError, match="_args_"):
        instantiate({"net": {"_target_": "torch.nn.Identity", "_args_": {"a": 1}}})


def test_references_that_lead_nowhere_or_round():
    with pytest.raises(ConfigError, match="nothing"):
        instantiate(OmegaConf.create({"a": "${nothing}"}))
    with pytest.raises(ConfigError):
        instantiate(OmegaConf.create({"a": "${b}", "b": "${a}"}))


def test_an_allowed_package_is_found_in_the_current_folder(tmp_path, monkeypatch):
    from visionattn.config.targets import find_allowed

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "package_of_mine").mkdir()
    assert find_allowed(["package_of_mine.mixers", "torch"], tmp_path) == ["package_of_mine"]
    assert sys.path[-1] == str(tmp_path)
    assert find_allowed(["not_there"], tmp_path) == []
