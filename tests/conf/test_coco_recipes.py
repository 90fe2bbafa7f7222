"""The recipes on COCO: every family is there, headers are true of them, and all of them build without data."""

import re

import pytest
import torch

from tests.conf.building import facts_without_data
from tests.conf.test_conf import CONF, check, options
from visionattn import config
from visionattn.backbones.zoo import backbone_files
from visionattn.cli.recipes import command
from visionattn.heads.detection.pyramid import Pyramid

RECIPES = [name for name in options("experiment") if name.startswith("coco/") and "/base_" not in name]
WITHOUT = {"boat", "fastervit", "favit", "maxvit", "moh", "segman", "swinv2"}
"""Families whose recipes of these detectors are not published with code for our sizes of models."""
FAMILIES = {name.split("_")[0] for name, facts in backbone_files().items() if facts["card"]["paper"]} - WITHOUT
PATTERN = r"coco/(mask_rcnn|cascade_mask_rcnn|retinanet)_([a-z0-9]+?)_(\w+)_(1x|3x)"
RATES = {
    "mask_rcnn_agent_pvt": (2e-4, 1e-4),
    "retinanet_agent_pvt": (1e-4, 1e-4),
    "retinanet_biformer": (1e-4, 1e-4),
    "cas_vit": (2e-4, 1e-4),
    "hornet_large": (1e-4, 0.05),
    "hornet": (2e-4, 0.05),
    "retinanet_mavit": (4e-4, 1e-4),
    "mavit": (4e-4, 0.05),
}
"""Learning rate and weight decay where they are not the usual ones."""
EPOCHS = {"1x": (12, [8, 11]), "3x": (36, [27, 33])}


def composed(name, *overrides):
    return config.compose("train", [f"experiment={name}", "run_dir=x", "name=x", "backbone_name=x", *overrides])


def test_every_family_and_every_framework_is_there():
    parts = [re.fullmatch(PATTERN, name).groups() for name in RECIPES]
    assert {family for _, family, _, _ in parts} == FAMILIES
    assert {family for head, family, _, _ in parts if head == "mask_rcnn"} == FAMILIES - {"hornet"}
    assert {"coco/mask_rcnn_swin_tiny_1x", "coco/mask_rcnn_swin_tiny_3x"} <= set(RECIPES)


@pytest.mark.docs
@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_what_the_recipe_does(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    per_gpu = int(re.search(r"^# hardware  8 GPUs, (\d) images each", text, re.MULTILINE)[1])
    assert any(line.startswith("# source    ") for line in lines)
    scores = r"\d\d\.\d box AP( and \d\d\.\d mask AP)? published|no published score is quoted"
    assert re.search(scores, lines[1]), lines[1]
    head, family, size, length = re.fullmatch(PATTERN, name).groups()
    cfg, (epochs, milestones) = composed(name), EPOCHS[length]
    check(cfg)
    assert (cfg.trainer.max_epochs, list(cfg.schedule.milestones)) == (epochs, milestones)
    assert f"override /backbone: {family}_{size}\n" in text
    rate = next((own for start, own in RATES.items() if start in name), (1e-4, 0.05))
    assert (cfg.optim.lr, cfg.optim.weight_decay) == rate
    assert (cfg.data.batch_size, cfg.task.lr_base_size) == (per_gpu, 8 * per_gpu)
    published = backbone_files()[f"{family}_{size}"]["card"].get("weights")
    weights = "" if published is None else "weights=timm " if published.get("timm") else "weights=FILE "
    start = f"visionattn train experiment={name} data.root=DIR {weights}"
    assert command(name, cfg) == f"{start}trainer=ddp trainer.devices=8"
    assert cfg.data.source.masks == (head != "retinanet")
    if head == "cascade_mask_rcnn":
        assert (cfg.head.regions.box_head, cfg.head.regions.box_loss) == ("4conv1fc", "giou")
        assert not cfg.head.class_agnostic


def test_a_recipe_builds_without_data(monkeypatch, tmp_path):
    """All of them are built in ``test_recipes.py``."""
    monkeypatch.chdir(tmp_path)
    words = ["experiment=coco/cascade_mask_rcnn_swin_tiny_3x", "data.root=/nowhere"]
    assert facts_without_data(*words)["learning rate"]


@pytest.mark.parametrize(("head", "strides"), [("retinanet", [8, 16, 32, 64, 128]), ("mask_rcnn", [4, 8, 16, 32, 64])])
def test_shvit_has_the_published_levels_below_its_maps(head, strides):
    with torch.device("meta"):
        task = config.instantiate(composed(f"coco/{head}_shvit_s4_1x").task)
    (pyramid,) = (module for module in task.head.modules() if isinstance(module, Pyramid))
    assert pyramid.strides == strides
    assert pyramid.num_maps == 4


@pytest.mark.parametrize(("head", "strides"), [("retinanet", [16, 32, 64, 128, 256]), ("mask_rcnn", [16, 32, 64, 128])])
def test_a_pyramid_begins_where_the_backbones_maps_do(head, strides):
    """SHViT has no map of stride 4 or 8: pyramid and anchors ask ``feature_info``."""
    extra, *more = ("p6p7_input",) if head == "retinanet" else ("pool", "head.pyramid.pooled=null")
    plain = ["head.pyramid.finer=0", f"head.pyramid.extra={extra}", *more]
    with torch.device("meta"):
        task = config.instantiate(composed(f"coco/{head}_shvit_s4_1x", *plain).task)
    (pyramid,) = (module for module in task.head.modules() if isinstance(module, Pyramid))
    assert pyramid.strides == strides
