"""Which recipe, task and head a training gets where nobody says so, and what goes before them."""

import pytest

from visionattn.cli.launch.preflight import check
from visionattn.config import DEFAULT_POLICY, compose
from visionattn.errors import ConfigError


def composed(*words):
    return compose("train", [*words, "++data.root=x"], return_hydra_config=True)


def choices(cfg, *groups):
    return [cfg.hydra.runtime.choices[group] for group in groups]


@pytest.mark.parametrize(
    ("words", "task", "head", "recipe"),
    [
        ([], "classification", "classification", "digits"),
        (["data=image_folder"], "classification", "classification", "classification"),
        (["data=image_folder", "weights=x"], "classification", "classification", "classification_finetune"),
        (["data=coco"], "detection", "rcnn", "detection"),
        (["data=yolo", "weights=x"], "detection", "rcnn", "detection_finetune"),
        (["data=coco", "head=fcos"], "detection", "fcos", "detection"),
        (["data=image_mask"], "segmentation", "upernet", "segmentation"),
        (["data=coco_panoptic", "weights=x"], "panoptic", "mask2former", "panoptic_finetune"),
        (["data=coco", "head=mask2former"], "panoptic", "mask2former", "panoptic"),
        (["data=coco", "recipe=own"], "classification", "classification", "own"),
        (["experiment=coco/mask_rcnn_swin_tiny_1x", "weights=x"], "detection", "mask_rcnn", "own"),
    ],
)
def test_the_data_ask_for_a_task_and_the_task_for_a_recipe(words, task, head, recipe):
    cfg = composed(*words)
    assert choices(cfg, "task", "head", "recipe") == [task, head, recipe]
    assert cfg.recipe_name == recipe
    assert list(cfg.hydra.overrides.task) == [*words, "++data.root=x"]  # what was typed, and nothing else


def test_the_rates_are_those_of_the_papers():
    rates = {"coco": 1e-4, "ade20k": 6e-5, "coco_panoptic": 1e-4, "image_folder": 1e-3, "digits": 2e-3}
    for data, rate in rates.items():
        cfg = compose("train", [f"data={data}"])
        assert cfg.optim.lr == rate
        base = {"image_folder": 1024, "digits": None}.get(data, 16)
        assert cfg.task.lr_base_size == base


def test_what_is_typed_goes_before_the_recipe():
    cfg = composed("data=coco", "optim.lr=0.5", "trainer.max_epochs=3", "schedule=cosine", "callbacks=default")
    assert (cfg.optim.lr, cfg.trainer.max_epochs) == (0.5, 3)
    assert "milestones" not in cfg.schedule
    assert cfg.callbacks.ema.decay == 0.99


def test_a_recipe_says_nothing_about_another_optimizer():
    cfg = composed("data=coco", "optim=sgd")
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.task.lr_base_size) == (0.1, 1e-4, None)
    assert cfg.schedule.milestones == [0.75, 0.9167]


def test_a_recipe_adds_no_key():
    for data in ("coco", "ade20k", "coco_panoptic", "image_folder"):
        for words in ([], ["weights=x"]):
            bare = compose("train", [f"data={data}", "recipe=own"])
            full = compose("train", [f"data={data}", *words])
            for group in ("data", "optim", "trainer"):
                assert set(full[group]) == set(bare[group]) or group == "optim", group
            assert set(full.data.train_transform) == set(bare.data.train_transform)


def test_an_experiment_of_ones_own_gets_the_recipe_below_its_values(tmp_path):
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("# @package _global_\ndefaults: [override /data: coco]\nweights: x\noptim: {weight_decay: 0.3}\n")
    cfg = compose("train", ["experiment=mine"], [tmp_path], return_hydra_config=True)
    assert choices(cfg, "task", "head", "recipe") == ["detection", "rcnn", "detection_finetune"]
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.trainer.max_epochs) == (1e-4, 0.3, 12)


def test_a_recipe_of_ones_own(tmp_path):
    file = tmp_path / "recipe" / "quick.yaml"
    file.parent.mkdir()
    file.write_text("# @package _global_\ntrainer: {max_epochs: 2}\n")
    assert compose("train", ["recipe=quick", "data=coco"], [tmp_path]).trainer.max_epochs == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["task=detection"], "data=digits is for task=classification.*data for detection: coco"),
        (["head=mask_rcnn"], "data=digits is for task=classification"),
        (["task=segmentation", "head=mask_rcnn"], "head=mask_rcnn is for task=detection.*segmentation: segformer"),
        (["task=segmentation", "data=coco"], "data=coco is for task=detection"),
        (["head=upernet", "data=image_folder"], "head=upernet is for task=segmentation"),
        (["task=panoptic", "data=coco"], "task.panoptic=false task.instance=true"),
        (["experiment=imagenet/swin_tiny", "data=coco"], "data=coco is for task=detection"),
    ],
)
def test_what_does_not_fit_is_one_sentence(words, says):
    with pytest.raises(ConfigError, match=says):
        check(composed(*words), "train", DEFAULT_POLICY)


def test_objects_alone_fit_the_panoptic_task():
    check(composed("task=panoptic", "data=coco", "task.panoptic=false", "task.instance=true"), "train", DEFAULT_POLICY)
