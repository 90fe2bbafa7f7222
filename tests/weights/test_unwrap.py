"""What training scripts put around weights: entries, prefixes, averaged weights, objects beside them."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

import visionattn
from tests.recorded import FOLDER, published_state, recorded
from visionattn.errors import CheckpointError
from visionattn.weights import load_weights
from visionattn.weights.load import from_run
from visionattn.weights.unwrap import unwrapped

FAMILIES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem not in ("cswin_dense",))
AROUND = {
    "nothing": lambda s: s,
    "model, as the scripts of Swin, HorNet and RMT save it": lambda s: {"model": s, "optimizer": {}, "epoch": 299},
    "state_dict, as FasterViT's, DaViT's and Lightning's": lambda s: {"state_dict": s, "epoch": 3},
    "state_dict_ema, as CSWin's": lambda s: {"state_dict_ema": s},
    "both, as timm's": lambda s: {"state_dict": wrong(s), "state_dict_ema": s, "arch": "x", "metric": 81.2},
    "both, as DeiT's": lambda s: {"model": wrong(s), "model_ema": s, "scaler": {}},
    "several processes": lambda s: {"model": under("module.", s)},
    "compiled in several processes": lambda s: under("module._orig_mod.", s),
    "a module of Lightning's": lambda s: {"state_dict": under("model.", s), "pytorch-lightning_version": "2.5"},
    "one with a loss": lambda s: {"state_dict": under("net.", s) | {"criterion.weight": torch.ones(4)}},
    "one with averaged weights": lambda s: {"state_dict": under("ema_model.", s) | under("model.", wrong(s))},
    "pretraining": lambda s: {"model": under("encoder.", s) | {"decoder.0.bias": torch.ones(4)}},
    "a network in a network": lambda s: {"params": under("net.module.", s)},
}


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def wrong(state):
    return {name: tensor[None] for name, tensor in state.items()}


def names_of(family):
    """The names of a published state dict, with tensors that tell them apart."""
    listed = recorded(family)["state"]
    return {name: torch.empty(0, 1 + index, device="meta") for index, (name, *_) in enumerate(listed)}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
def test_every_family_out_of_everything(around):
    for family in FAMILIES:
        state = names_of(family)
        found = unwrapped(around(state)).state
        assert {name: x.shape for name, x in found.items()} == {name: x.shape for name, x in state.items()}, family


def test_every_family_around_which_a_head_was():
    """A classifier of OpenMMLab's, or a model of one's own: ``backbone.`` and what is beside it."""
    for family in FAMILIES:
        state = {name: x for name, x in names_of(family).items() if not name.startswith("head.")}
        backbone, beside = from_run(unwrapped({"state_dict": under("backbone.", state) | {"neck.bias": None}}).state)
        assert (backbone.keys(), beside) == (state.keys(), {}), family


@pytest.fixture(scope="module")
def model():
    return visionattn.create_backbone("swin_pico", num_classes=4)


def test_averaged_weights_are_taken_and_told(model):
    averaged = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    other = visionattn.create_backbone("swin_pico", num_classes=4)
    lightning = {"state_dict": under("ema_model.", averaged) | under("model.", model.state_dict())}
    for held, around in (
        ("state_dict_ema", {"state_dict": model.state_dict(), "state_dict_ema": averaged}),
        ("ema_model", lightning),
    ):
        report = load_weights(other, around)
        assert torch.equal(other.norm.weight, averaged["norm.weight"])
        assert report.averaged == held
    assert "averaged weights: ema_model)" in report.summary()
    assert "averaged" not in load_weights(other, {"state_dict_ema": averaged}).summary()


def test_what_lies_beside_the_model_is_told(model):
    state = under("model.", model.state_dict()) | {"criterion.weight": torch.ones(4)}
    report = load_weights(visionattn.create_backbone("swin_pico", num_classes=4), {"state_dict": state})
    assert report.left_out == ["criterion.weight"]


def test_a_file_as_timms_train_writes_it(model, tmp_path):
    """With the arguments of the command line, numbers of NumPy and a path, of which nothing is built."""
    around = {"epoch": 7, "arch": "x", "state_dict": model.state_dict(), "optimizer": {"state": {}, "param_groups": []}}
    around |= {"args": argparse.Namespace(lr=5e-4, aa=None, data=Path("x")), "metric": np.float64(81.2), "version": 2}
    around |= {"rng": np.random.RandomState(0).get_state()}
    torch.save(around, tmp_path / "checkpoint.pth.tar")
    report = load_weights(visionattn.create_backbone("swin_pico", num_classes=4), tmp_path / "checkpoint.pth.tar")
    assert not report.left_out


class CfgNode(dict):
    """As yacs has one."""


def test_other_objects_are_refused_by_name(model, tmp_path):
    torch.save({"model": model.state_dict(), "config": CfgNode(a=1)}, tmp_path / "swin.pth")
    with pytest.raises(
        CheckpointError, match=r"more than tensors and plain values \(tests\.weights\.test_unwrap\.CfgNode\)"
    ):
        load_weights(model, tmp_path / "swin.pth")


def test_pretraining_by_masked_images():
    """SimMIM's encoder is a Swin with a token for masked patches, and no classifier."""
    given = published_state(recorded("swinv2_tiny_window8_256"))
    given = {name: x for name, x in given.items() if not name.startswith("head.")} | {"mask_token": torch.zeros(1)}
    around = {"model": under("encoder.", given) | {"decoder.0.weight": torch.ones(2)}}
    report = load_weights(visionattn.create_backbone("swinv2_tiny_window8_256", num_classes=0), around)
    assert report.left_out == ["decoder.0.weight"]
