"""Old names of files and groups: they do what the new ones do, a note says the new one, and lists do not show them."""

import pytest
from omegaconf import OmegaConf

import visionattn
from tests.config.conftest import write_tree
from visionattn.cli.arguments import parse
from visionattn.config import aliases, compose
from visionattn.config.catalog import choices, source_file

SWAP = "mixer@backbone.mixers.s3"


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(aliases, "_told", set())


def backbone(*overrides, folders=()):
    return OmegaConf.to_container(compose("train", ["backbone=swin_pico", *overrides], folders).backbone)


def test_every_old_name_has_a_file_of_now():
    for old, new in aliases.FILES.items():
        assert source_file(f"{old}.yaml") is None
        assert source_file(f"{new}.yaml") is not None, new


@pytest.mark.parametrize("old", ["dilated_7_2_3_4", "window_and_grid_12", "full_lepe"])
def test_an_old_mixer_is_the_new_one_and_a_note_says_so(old, capsys):
    assert backbone(f"{SWAP}={old}") == backbone(f"{SWAP}={aliases.MIXERS[old]}")
    assert f"mixer {old} is now called {aliases.MIXERS[old]}" in capsys.readouterr().err


def test_the_note_comes_once(capsys):
    for _ in range(2):
        backbone(f"{SWAP}=window_12")
    assert capsys.readouterr().err.count("swin/12") == 1
    backbone(f"{SWAP}=swin/12")
    assert not capsys.readouterr().err


def test_in_the_defaults_of_a_file_of_ones_own(tmp_path):
    own = "# mine\ndefaults: [swin_pico, {override /mixer@mixers.s2: dilated_3}, _self_]\n"
    recipe = (
        "# @package _global_\ndefaults:\n- override /backbone: mine\n- override /mixer@backbone.mixers.s3: grid_12\n"
    )
    folder = write_tree(tmp_path, {"backbone/mine.yaml": own, "experiment/mine.yaml": recipe})
    mine = OmegaConf.to_container(compose("train", ["experiment=mine"], [folder]).backbone)
    assert mine == backbone("mixer@backbone.mixers.s2=dinat/3_2", f"{SWAP}=maxvit/grid_12")


def test_a_file_of_ones_own_goes_before_an_old_name(tmp_path, capsys):
    text = "_target_: visionattn.attention.Pooling\n_partial_: true\n"
    folder = write_tree(tmp_path, {"mixer/window_12.yaml": text})
    assert "Pooling" in backbone(f"{SWAP}=window_12", folders=[folder])["mixers"]["s3"]["_target_"]
    assert not capsys.readouterr().err


def test_in_a_sweep_and_in_a_key_of_the_same_place():
    assert compose("train", [f"{SWAP}=window_4,dilated_3"], sweep=True)
    swapped = backbone(f"{SWAP}=neighborhood_3", "backbone.mixers.s3.kernel_size=5")
    assert swapped["mixers"]["s3"]["kernel_size"] == 5


def test_in_the_overrides_of_create_backbone():
    old, new = (
        visionattn.create_backbone("swin_pico", overrides=[f"mixer@mixers.s3={name}"])
        for name in ("cross_2", "cswin/2")
    )
    assert str(old) == str(new)


def test_the_group_of_benchmarks_had_another_name(capsys):
    assert parse(["benchmark", "subject=kernels"]).overrides == ["benchmark=kernels"]
    assert compose("benchmark", ["subject=loading"]).measure == "loading"
    assert "the group subject is now called benchmark" in capsys.readouterr().err


def test_lists_do_not_show_old_names():
    assert not set(aliases.MIXERS) & set(choices("mixer"))
