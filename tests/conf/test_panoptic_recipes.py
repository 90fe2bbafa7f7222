"""The recipes of panoptic segmentation: they compose and build, with the sizes and scores that their sources print."""

import re

import pytest
import torch

from tests.conf.test_conf import CONF, options
from visionattn import config

pytest.importorskip("transformers")
FOLDER = CONF / "experiment" / "coco_panoptic"
RECIPES = {
    "swin_tiny_50ep": (53.2, 47),
    "swin_small_50ep": (54.6, 69),
    "swin_base_384_50ep": (56.4, 107),
    "swin_large_384_100ep": (57.8, 216),
    "dinat_large_384_11x11_100ep": (58.5, 220),
}


def compose(name):
    return config.compose("train", [f"experiment={name}", "name=x", "backbone_name=x", "run_dir=x", "data.root=x"])


def test_the_recipes_are_those_of_the_papers():
    found = {name for name in options("experiment") if name.startswith("coco_panoptic/")}
    assert found == {f"coco_panoptic/mask2former_{name}" for name in RECIPES}


@pytest.mark.docs
@pytest.mark.parametrize("name", RECIPES)
def test_the_header_says_what_the_recipe_does(name):
    text = (FOLDER / f"mask2former_{name}.yaml").read_text(encoding="utf-8")
    quality, size = RECIPES[name]
    assert f"{quality} PQ published" in text
    assert f"{size} M parameters" in text
    assert "# source    " in text
    assert f"experiment=coco_panoptic/mask2former_{name} " in text or "# command" not in text
    cfg = compose(f"coco_panoptic/mask2former_{name}")
    epochs = int(re.search(r"_(\d+)ep$", name)[1])
    assert f"{epochs} epochs" in text
    assert cfg.trainer.max_epochs == epochs
    steps = [round(one * 7375) for one in cfg.schedule.milestones]  # of 16 of 118,000 images
    assert steps == pytest.approx([epochs * 7375 * 8 / 9, epochs * 7375 * 26 / 27], abs=8)
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.task.backbone_lr_scale) == (1e-4, 0.05, 0.1)
    assert cfg.data.batch_size * 8 == cfg.task.lr_base_size == 16
    assert cfg.trainer.gradient_clip_val == 0.01
    assert cfg.head.num_queries == (200 if epochs == 100 else 100)
    assert (cfg.head.decoder_layers, cfg.head.channels, cfg.head.num_points) == (9, 256, 12544)
    weights = (cfg.head.class_weight, cfg.head.mask_weight, cfg.head.dice_weight, cfg.head.no_object_weight)
    assert weights == (2, 5, 5, 0.1)
    assert list(cfg.data.train_transform.jitter) == [0.1, 2.0]
    assert list(cfg.data.train_transform.crop_size) == [1024, 1024]
    assert (cfg.task.score, cfg.task.overlap) == (0.8, 0.8)
    assert cfg.data.num_classes == 133


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n in ("swin_tiny_50ep", "dinat_large_384_11x11_100ep") else pytest.mark.heavy)
        for n in RECIPES
    ],
)
def test_a_recipe_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        task = config.instantiate(compose(f"coco_panoptic/mask2former_{name}").task)
    count = sum(parameter.numel() for parameter in task.parameters()) / 1e6
    assert abs(count - RECIPES[name][1]) < 0.5, count


def test_the_dilations_are_the_published_ones():
    cfg = compose("coco_panoptic/mask2former_dinat_large_384_11x11_100ep")
    mixers, depths = cfg.backbone.mixers, cfg.backbone.depths
    dilations = [[m.dilation] if isinstance(m.dilation, int) else list(m.dilation) for m in mixers.values()]
    assert [
        d * n if len(d) == 1 else [d[i % len(d)] for i in range(n)] for d, n in zip(dilations, depths, strict=True)
    ] == [
        [1, 14, 1],
        [1, 4, 1, 7],
        [1, 2, 1, 3] * 4 + [1, 3],
        [1] * 5,
    ]
    assert {m.kernel_size for m in mixers.values()} == {11}
