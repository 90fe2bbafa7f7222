"""The shipped experiments: what their headers say is true of them, and they build."""

import re

import pytest
import torch

from tests.conf.building import facts_without_data
from tests.conf.test_conf import CONF, check, options
from tests.corpus.trees import TREES
from visionattn import config
from visionattn.backbones.cost import count_parameters
from visionattn.backbones.zoo import backbone_files
from visionattn.cli import main
from visionattn.cli.recipes import command
from visionattn.errors import DataError

RECIPES = [name for name in options("experiment") if name.startswith("imagenet/")]
HEADER = ("hardware  ", "source    github.com/")


def composed(name):
    return config.compose("train", [f"experiment={name}", "run_dir=x", "name=x", "backbone_name=x"])


WITHOUT = {"s2aformer"}
"""Families whose training on ImageNet is not published."""


def test_there_is_a_recipe_for_every_family_with_a_published_one():
    published = {name.split("_")[0] for name, facts in backbone_files().items() if facts["card"]["paper"]}
    assert {re.match(r"imagenet/([a-z0-9]+)", name)[1] for name in RECIPES} == published - WITHOUT


@pytest.mark.docs
@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_what_the_recipe_does(name):
    lines = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    for begin in HEADER:
        assert any(line.startswith(f"# {begin}") for line in lines), begin
    cfg = composed(name)
    check(cfg)
    card, published = cfg.backbone.card, float(re.search(r": ([\d.]+) % top-1 published", lines[1])[1])
    if not name.endswith("finetune"):
        assert published == card.top1
        assert cfg.backbone.drop_path_rate == card.get("drop_path", cfg.backbone.drop_path_rate)
    epochs = sum(map(int, re.findall(r"(\d+) (?:epochs )?at (?:\d|the)", lines[1])))
    assert cfg.trainer.max_epochs == epochs
    assert cfg.data.image_size == card.input_size[1]
    assert cfg.data.eval_transform.crop_pct == card.crop_pct
    typed = command(name, cfg)
    assert typed.startswith(f"visionattn train experiment={name} data.root=DIR trainer=ddp ")
    devices, nodes = re.search(r"devices=(\d+)", typed)[1], re.search(r"num_nodes=(\d+)", typed)
    batch = cfg.data.batch_size * int(devices) * (int(nodes[1]) if nodes else 1)
    assert batch == cfg.task.lr_base_size  # the command trains at the stated rate


def test_what_holds_of_all_recipes_stands_once():
    texts = {name: (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8") for name in options("experiment")}
    own = ("digits", "shapes", "finetune", "league", "probes")
    published = {name: text for name, text in texts.items() if name.split("/")[0] not in own}
    assert not [name for name, text in published.items() if "# unverified" in text]
    assert not [name for name, text in published.items() if "# command" in text and "weights=" not in text]
    for folder in {name.split("/")[0] for name in published}:
        assert "# unverified " in (CONF / "experiment" / folder / "base.yaml").read_text(encoding="utf-8")


def test_list_prints_the_header_and_the_command_of_one_recipe(capsys):
    assert main(["list", "experiments", "imagenet/maxvit_tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "imagenet/maxvit_tiny"
    assert "83.62 % top-1 published" in lines[1]
    start = "command   visionattn train experiment=imagenet/maxvit_tiny data.root=DIR"
    assert lines[2] == f"{start} trainer=ddp trainer.devices=8 trainer.num_nodes=4"
    assert [line.split()[0] for line in lines[3:5]] == ["hardware", "source"]
    assert lines[-1].startswith("unverified nothing was trained here")


@pytest.mark.parametrize("name", ["imagenet/maxvit_tiny", "imagenet/fastervit_4"])
def test_a_recipe_builds_without_data(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    facts = facts_without_data(f"experiment={name}", "data.root=/nowhere")
    assert facts["parameters"].text == f"{composed(name).backbone.card.params:,}"
    assert facts["images per step"].text == "128 (128 per process, 1 process, no accumulation)"


def test_images_per_step_are_told_for_every_size(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["data.root=/nowhere", "backbone=swin_pico", "data.image_size=64", "data.num_classes=3", "recipe=own"]
    words += ["data.train_transform.hflip=0.5"]
    facts = facts_without_data("data=image_folder", *words, "data.batch_size=10", "data.multi_scale=[32,64,128]")
    sizes = "40 of 32x32, 10 of 64x64, 2 of 128x128"
    assert facts["images per step"].text.endswith(f"no accumulation); batches by turns, before accumulation: {sizes}")


READ = {
    "coco_panoptic/": "panoptic",
    "shapes/mask2former": "panoptic",
    "finetune/classification": "image_folder",
    "finetune/probing": "image_folder",
    "finetune/detection": "coco",
    "finetune/segmentation": "image_mask",
}
"""Experiments that ask the data for files or classes, by the beginnings of their names, and the tree they are given."""


@pytest.mark.heavy
@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_builds_without_data(name, monkeypatch, tmp_path):
    """Or with a few images, where files and classes are found in the data."""
    monkeypatch.chdir(tmp_path)
    words = [] if name.startswith("digits/") else ["data.root=/nowhere"]
    for layout in (layout for start, layout in READ.items() if name.startswith(start)):
        with pytest.raises(DataError, match=r"/nowhere.* is not a folder"):
            facts_without_data(f"experiment={name}", *words)
        TREES[layout](tmp_path / "data")
        words = [f"data.root={tmp_path / 'data'}"]
    assert facts_without_data(f"experiment={name}", *words)["learning rate"]


@pytest.mark.heavy
@pytest.mark.parametrize("name", RECIPES)
def test_what_is_trained_is_the_published_model(name):
    cfg = composed(name)
    with torch.device("meta"):
        task = config.instantiate(cfg.task)
    assert count_parameters(task.backbone) + count_parameters(task.head) == cfg.backbone.card.params


def test_what_the_papers_publish_of_sampling_and_clipping_is_trained():
    cfg = composed("imagenet/shvit_s1")
    assert (cfg.data.repeats, cfg.task.adaptive_clip, cfg.trainer.gradient_clip_val) == (3, 0.02, None)
    data = {name: composed(name).data for name in RECIPES}
    scaled = {name for name, one in data.items() if one.multi_scale}
    assert scaled == {f"imagenet/cas_vit_{size}" for size in ("xs", "s", "m", "t")}
    repeated = {name.split("/")[1].split("_")[0] for name, one in data.items() if one.repeats == 3}
    assert repeated == {"shvit", "transnext", "moh", "mavit", "rmt", "ppma", "biformer", "favit"}
