"""The recipes of segmentation: they build, with the numbers of parameters that their sources print."""

import re
from importlib import resources
from pathlib import Path

import pytest
import torch

from visionattn import config
from visionattn.backbones.zoo import list_backbones

FOLDER = Path(str(resources.files("visionattn.conf"))) / "experiment" / "ade20k"
RECIPES = sorted(path.stem for path in FOLDER.glob("upernet_*.yaml"))
COUNTED = [name for name in RECIPES if " M parameters" in (FOLDER / f"{name}.yaml").read_text()]
QUICK = ("upernet_swin_tiny_160k", "upernet_dinat_large_160k")


def compose(name, data="ade20k"):
    return config.compose(
        "train", [f"experiment={data}/{name}", "name=x", "backbone_name=x", "run_dir=x", "data.root=x"]
    )


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.heavy) for name in COUNTED]
)
def test_a_recipe_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        task = config.instantiate(compose(name).task)
    published = int(re.search(r"(\d+) M parameters", (FOLDER / f"{name}.yaml").read_text()).group(1))
    count = sum(parameter.numel() for parameter in task.parameters()) / 1e6
    assert abs(count - published) < 1.0, count


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_ppma_has_its_recipes_on_cityscapes(size):
    cfg = compose(f"upernet_ppma_{size}_160k", "cityscapes")
    assert (cfg.data.num_classes, cfg.data.image_size, cfg.data.batch_size * 8) == (19, 1024, cfg.task.lr_base_size)
    assert (cfg.optim.lr, cfg.optim.weight_decay) == (6e-5, 0.05)
    with torch.device("meta"):
        assert config.instantiate(cfg.task).num_classes == 19


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_where_its_scores_come_from(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    assert name.removeprefix("upernet_").removesuffix("_160k") in list_backbones()
    assert "# source    github.com/" in text
    assert ("mIoU published" in text) != ("no published score is quoted" in text)


def test_the_recipes_are_those_of_the_papers():
    cfg = compose("upernet_dinat_tiny_160k")
    assert cfg.trainer.max_steps == 160_000
    assert cfg.data.batch_size * 8 == cfg.task.lr_base_size == 16
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.schedule.warmup_steps) == (6e-5, 0.01, 1500)
    assert cfg.backbone.mixers.s1.dilation == [1, 16]  # maps are larger than in classification
    assert cfg.backbone.mixers.s3.dilation == [1, 2, 1, 3, 1, 4]


SCORES = {
    "ade20k": {"tiny": 43.0, "small": 51.3, "base": 52.6, "large": 53.2},
    "cityscapes": {"tiny": 80.3, "small": 83.2, "base": 83.8, "large": 84.2},
    "coco_stuff": {"tiny": 41.3, "small": 47.5, "base": 48.4, "large": 48.8},
}
"""SegMAN's published mIoU."""
PARAMETERS = {
    "ade20k": {"tiny": 6_397_260, "small": 29_424_636, "base": 51_802_820, "large": 92_335_734},
    "cityscapes": {"tiny": 6_380_361, "small": 29_974_153, "base": 51_779_109, "large": 92_306_259},
    "coco_stuff": {"tiny": 6_399_969, "small": 29_427_681, "base": 51_806_621, "large": 92_340_459},
}
"""As the published code counts them; its smallest network on Cityscapes has 150 outputs, 16,899 parameters more."""
CLASSES = {"ade20k": 150, "cityscapes": 19, "coco_stuff": 171}


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (data, size) if (data, size) == ("cityscapes", "tiny") else pytest.param(data, size, marks=pytest.mark.heavy)
        for data in SCORES
        for size in PARAMETERS[data]
    ],
)
def test_segman_has_its_recipes(data, size):
    name = f"segman_{size}_160k"
    text = (FOLDER.parent / data / f"{name}.yaml").read_text()
    assert f": {SCORES[data][size]} mIoU published" in text
    cfg = compose(name, data)
    with torch.device("meta"):
        task = config.instantiate(cfg.task)
    assert task.head.num_classes == CLASSES[data]
    assert cfg.data.batch_size * 4 == cfg.task.lr_base_size
    assert (cfg.optim.lr * cfg.task.backbone_lr_scale, cfg.trainer.max_steps) == (pytest.approx(6e-5), 160_000)
    assert sum(parameter.numel() for parameter in task.parameters()) == PARAMETERS[data][size]


@pytest.mark.parametrize(("size", "score", "drop_path"), [("small", 48.9, 0.15), ("base", 49.9, 0.3)])
def test_biformer_has_its_recipes_with_semantic_fpn(size, score, drop_path):
    name = f"semantic_fpn_biformer_{size}_80k"
    assert f"80,000 steps: {score} mIoU published" in (FOLDER / f"{name}.yaml").read_text()
    cfg = compose(name)
    with torch.device("meta"):
        task = config.instantiate(cfg.task)
    assert type(task.head.decoder).__name__ == "SemanticFPN"
    assert (task.head.num_classes, cfg.backbone.drop_path_rate) == (150, drop_path)
    assert cfg.data.batch_size * 8 == cfg.task.lr_base_size == 32
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.trainer.max_steps) == (2e-4, 1e-4, 80_000)
    assert cfg.schedule.warmup_epochs * 20_210 / 32 == pytest.approx(1000, abs=1)
    assert cfg.backbone.mixers.s3.regions == 8


SHORT = {
    "agent_pvt_tiny": (40.18, 15, 16),
    "agent_pvt_small": (44.18, 24, 16),
    "agent_pvt_medium": (44.3, 40, 16),
    "agent_pvt_large": (46.52, 52, 16),
    "cas_vit_xs": (37.1, None, 32),
    "cas_vit_s": (41.3, None, 32),
    "cas_vit_m": (43.6, None, 32),
    "cas_vit_t": (45.0, None, 32),
}
"""Published mIoU, millions of parameters, and images a step of Semantic FPN after 40,000 steps."""


@pytest.mark.parametrize(
    "backbone", [name if name == "agent_pvt_tiny" else pytest.param(name, marks=pytest.mark.heavy) for name in SHORT]
)
def test_the_shorter_recipes_of_semantic_fpn(backbone):
    score, millions, images = SHORT[backbone]
    name = f"semantic_fpn_{backbone}_40k"
    assert f"40,000 steps: {score} mIoU published" in (FOLDER / f"{name}.yaml").read_text()
    cfg = compose(name)
    assert cfg.data.batch_size * 8 == cfg.task.lr_base_size == images
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.schedule.power, cfg.trainer.max_steps) == (
        2e-4,
        1e-4,
        0.9,
        40_000,
    )
    with torch.device("meta"):
        task = config.instantiate(cfg.task)
    count = sum(parameter.numel() for parameter in task.parameters()) / 1e6
    assert millions is None or abs(count - millions) < 1.0
