"""Every configuration file: it composes, its targets exist and are allowed, and it says in its first line what it
is.
"""

from importlib import resources
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

import visionattn
from tests.contracts.structures import REPRESENTATIVES
from visionattn import config, errors
from visionattn.cli import main
from visionattn.config.catalog import with_parts

CONF = Path(str(resources.files("visionattn.conf")))
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
ROOTS = {
    "convert": ["from=coco", "to=yolo", "root=x", "dir=x"],
    "doctor": ["data=digits"],
    "evaluate": ["ckpt=x"],
    "export": ["ckpt=x"],
    "predict": ["ckpt=x", "source=x"],
    "make_data": ["make=shapes", "layout=coco", "dir=x"],
}
CHOOSABLE = ["backbone", "head", "data", "optim", "schedule", "trainer", "logger", "callbacks", "experiment", "debug"]


def options(group: str) -> list[str]:
    paths = (path.relative_to(CONF / group).with_suffix("") for path in (CONF / group).rglob("*.yaml"))
    return sorted(path.as_posix() for path in paths if path.name != "base" and not path.name.startswith("_"))


def targets(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets(value)]
    return [target for value in node for target in targets(value)] if isinstance(node, list) else []


def check(cfg: object) -> None:
    config.check_targets(cfg)
    for target in targets(OmegaConf.to_container(cfg, resolve=False)):
        assert callable(get_object(target)), target


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.relative_to(CONF).as_posix())
def test_the_first_line_says_what_it_is(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert first.startswith("# "), path


@pytest.mark.parametrize("group", [group for group in CHOOSABLE if (CONF / group).is_dir()])
def test_every_choice_composes_with_train(group):
    """One backbone of each structure: the contract tests build all. Published recipes: their own tests compose them."""
    names = REPRESENTATIVES if group == "backbone" else options(group)
    own = ("imagenet/", "coco/", "ade20k/", "cityscapes/", "coco_stuff/")
    for name in [name for name in names if not name.startswith(own)]:
        cfg = config.compose("train", [f"{group}={name}", "name=x", "backbone_name=x", "run_dir=x", "++data.root=x"])
        for key in ("data", "task", "callbacks", "logger", "trainer"):
            if cfg.get(key) is not None:
                check(cfg[key])


@pytest.mark.parametrize("group", ["stem", "downsample"])
def test_every_part_composes_by_itself(group):
    """Mixers are built by their contract tests."""
    for name in options(group):
        check(config.compose(f"{group}/{name}")[group])


def test_the_list_of_mixers_fits_into_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "mixers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    mixers = [name for name in options("mixer") if "/" not in name]
    shown = [line.split()[0] for line in lines[3 : 3 + len(mixers)]]
    assert shown == mixers
    assert all("arXiv" in line or "mixers.first" in line for line in lines[3 : 3 + len(mixers)])


def test_a_preset_is_its_mixer_and_the_keys_that_differ():
    for name in (name for name in options("mixer") if "/" in name):
        lines = [line for line in (CONF / "mixer" / f"{name}.yaml").read_text().splitlines() if line]
        assert len(lines) <= 6, name
        assert "defaults:" in lines[1], name


@pytest.mark.parametrize("root", sorted(ROOTS))
def test_the_other_commands_compose(root):
    assert config.compose(root, ROOTS[root])


def test_a_backbone_only_names_mixers_and_never_sets_their_keys():
    for name in visionattn.list_backbones():
        body = OmegaConf.load(CONF / "backbone" / f"{name}.yaml")
        assert "mixers" not in body, name
        assert {"dims", "depths", "num_heads", "card"} <= set(body), name
        assert {"params", "gmacs"} <= set(body.card), name


def test_a_published_backbone_inherits_its_family_and_no_other_model():
    for name in visionattn.list_backbones():
        inherited = [one for one in OmegaConf.load(CONF / "backbone" / f"{name}.yaml").defaults if isinstance(one, str)]
        family = inherited[: inherited.index("_self_")]
        assert family == ["base"] if name.endswith("_pico") else all(one.startswith("_") for one in family), name
        for part in family:
            below = [] if part == "base" else OmegaConf.load(CONF / "backbone" / f"{part}.yaml").defaults
            assert {one for one in below if isinstance(one, str)} <= {"base", "_self_"}, part


def test_the_file_of_a_backbone_is_short():
    lengths = [
        len((CONF / "backbone" / f"{name}.yaml").read_text().splitlines()) for name in visionattn.list_backbones()
    ]
    assert sorted(lengths)[len(lengths) // 2] <= 13
    assert max(lengths) <= 22


def test_the_parts_of_a_backbone_are_merged_as_hydra_merges_them():
    for name in ("swin_base_384", "davit_giant", "maxvit_xlarge", "fastervit_4_21k", "dinat_pico"):
        composed = OmegaConf.to_container(config.compose("backbone_only", [f"backbone={name}"]).backbone)
        for key, value in with_parts("backbone", name).items():
            if key != "defaults":
                assert composed[key] == (composed[key] | value if key in ("block", "stage") else value), (name, key)


@pytest.mark.parametrize("name", ["shapes/upernett", "upernett"])
def test_a_misspelt_experiment_is_answered_with_the_nearest(name):
    with pytest.raises(errors.ConfigError, match=f"unknown experiment {name}; did you mean shapes/upernet"):
        config.compose("train", [f"experiment={name}"])
