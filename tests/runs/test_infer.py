"""What a configuration leaves open is filled in from data, backbone and machine, and what is said stays."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from visionattn.config import compose
from visionattn.data.classification import ImageFolder
from visionattn.data.detection import Coco
from visionattn.data.facts import DataFacts
from visionattn.data.segmentation import ADE20K, Cityscapes
from visionattn.errors import ConfigError, DataError
from visionattn.runs import sizes
from visionattn.runs.infer import adopt, infer


@pytest.fixture
def facts(monkeypatch):
    """A COCO source that says what the test wants."""

    def say(**values):
        told = DataFacts(**values)
        monkeypatch.setattr(Coco, "inspect", classmethod(lambda cls, root, options: told), raising=False)

    return say


def filled(*words):
    cfg = compose("train", ["data=coco", "data.root=x", "trainer.accelerator=cpu", *words])
    return cfg, {one.key: one.value for one in infer(cfg).values}


def test_small_images_are_seen_at_their_own_size(facts):
    facts(num_classes=3, image_size=(150, 200), images={"train": 64})
    cfg, done = filled("data.num_classes=auto")
    assert cfg.data.num_classes == 3
    assert list(cfg.data.image_size) == [160, 267]
    assert (cfg.data.eval_transform.short_edge, cfg.data.eval_transform.long_edge) == (160, 267)
    assert list(cfg.data.train_transform.short_edges) == [128, 144, 160, 176, 192]
    assert cfg.data.train_transform.crop is False
    assert cfg.data.batch_size == 8  # at least eight steps an epoch
    assert done["data.num_classes"] == 3
    assert not infer(cfg).values  # nothing is left open


def test_one_size_of_images_is_that_of_training_and_evaluation(facts):
    facts(num_classes=3, image_size=(150, 200), images={"train": 64})
    cfg, _ = filled("data.image_size=640")
    assert (cfg.data.eval_transform.short_edge, cfg.data.eval_transform.long_edge) == (640, 640)
    assert list(cfg.data.train_transform.short_edges) == [512, 576, 640, 640, 640]
    assert (cfg.data.train_transform.long_edge, cfg.data.image_size) == (640, 640)
    assert (
        filled("data.image_size=[480,800]", "data.eval_transform.short_edge=96")[0].data.eval_transform.long_edge == 800
    )


def test_images_as_large_as_cocos_are_seen_as_coco_is(facts):
    facts(num_classes=80, image_size=(480, 640))
    cfg, _ = filled()
    assert list(cfg.data.image_size) == [800, 1333]
    assert list(cfg.data.train_transform.short_edges) == list(range(480, 801, 32))


def test_what_is_said_stays(facts):
    facts(num_classes=3, image_size=(150, 200), images={"train": 64})
    said = ["data.num_classes=7", "data.eval_transform.short_edge=96", "data.batch_size=5", "trainer.precision=32-true"]
    cfg, done = filled(*said)
    assert (cfg.data.num_classes, cfg.data.eval_transform.short_edge, cfg.data.batch_size) == (7, 96, 5)
    assert not {word.partition("=")[0] for word in said} & set(done)


def test_options_of_the_source_are_filled_in(facts):
    facts(
        num_classes=3,
        options={"annotations": {"train": "a.json", "val": "b.json"}, "masks": False},
        notes=("layout: flat",),
    )
    cfg, _ = filled("data.source.annotations=auto", "data.source.masks=auto")
    assert OmegaConf.to_container(cfg.data.source.annotations) == {"train": "a.json", "val": "b.json"}
    assert cfg.head.masks is False


@pytest.mark.parametrize(
    ("names", "share"),
    [
        (("left_shoe", "right_shoe"), 0.0),
        (("left_shoe", "hat"), 0.5),
        (("a", "b"), 0.0),
        (("a",), 0.5),
        (None, 0.5),
    ],
)
def test_classes_that_a_mirror_changes_are_not_mirrored(facts, names, share):
    facts(num_classes=2, image_size=(150, 200), images={"train": 64}, class_names=names)
    assert filled()[0].data.train_transform.flip == share
    assert filled("data.train_transform.flip=0.25")[0].data.train_transform.flip == 0.25


def test_data_that_are_not_trained_on_are_not_asked_about_mirrors():
    words = ["data=image_folder", "data.root=/nowhere", "data.num_classes=3", "data.image_size=64", "data.batch_size=2"]
    cfg = compose("train", [*words, "backbone=swin_pico", "trainer.accelerator=cpu"])
    infer(cfg, training=False)
    assert cfg.data.train_transform.hflip == 0.5
    with pytest.raises(DataError, match="/nowhere"):
        infer(compose("train", words))


def test_a_source_that_cannot_tell_is_one_sentence(monkeypatch):
    monkeypatch.setattr(Coco, "inspect", classmethod(lambda cls, root, options: DataFacts()), raising=False)
    with pytest.raises(
        ConfigError, match=r"data\.num_classes is auto, and Coco cannot tell it: give data\.num_classes="
    ):
        filled("data.num_classes=auto")


def test_inference_of_segmentation_follows_training(monkeypatch):
    for kind in (ADE20K, Cityscapes):
        monkeypatch.setattr(kind, "inspect", classmethod(lambda cls, root, options: DataFacts(image_size=(512, 700))))
    cfg = compose("train", ["data=cityscapes", "data.root=x"])
    infer(cfg)
    assert (cfg.task.inference.short_edge, cfg.task.inference.stride) == (1024, 341)
    cfg = compose("train", ["data=ade20k", "data.root=x", "data.image_size=96"])
    infer(cfg)
    assert (cfg.data.train_transform.short_edge, cfg.task.inference.short_edge, cfg.task.inference.stride) == (
        512,
        512,
        64,
    )


def test_a_backbone_trains_at_the_size_of_its_card(monkeypatch):
    monkeypatch.setattr(ImageFolder, "inspect", classmethod(lambda cls, root, options: DataFacts(image_size=(60, 60))))
    cfg = compose("train", ["data=image_folder", "data.root=x", "data.num_classes=2", "backbone=swin_base_384"])
    infer(cfg)
    assert (cfg.data.image_size, cfg.backbone.drop_path_rate) == (384, 0.5)


@pytest.mark.parametrize(
    ("card", "images", "size"), [(224, (375, 500), 224), (32, (150, 150), 160), (32, (28, 28), 32), (None, None, 224)]
)
def test_the_size_of_classification(card, images, size):
    assert sizes.classification_size(card, images)[0] == size


def test_a_batch_fits_and_leaves_steps():
    def batch(*given):
        return sizes.batch_size(*given)[0]

    assert batch("classification", 1, None, 1e9, "x") == 128
    assert batch("classification", 1, None, 100.0, "x") == 64
    assert batch("classification", 1, 40, 1e9, "x") == 4
    assert batch("detection", 8, None, 1e9, "x") == 2
    assert batch("detection", 1, 3, 0.2, "x") == 1
    few = [batch("segmentation", 1, images, 1e9, "x") for images in (1, 2, 8, 15, 16, 31, 32)]
    assert few == [1, 2, 2, 2, 2, 2, 4]  # one cell of a single image has no variance to norm by
    assert batch("segmentation", 4, 8, 1e9, "x") == 2


def test_the_rows_of_swin_tiny_need_about_a_tenth_of_a_gigabyte_in_bf16():
    rows = {"dims": [96, 192, 384, 768], "depths": [2, 2, 6, 2]}
    assert 0.05e9 < sizes.bytes_per_image(rows, (224, 224), dense=False, half=True) < 0.2e9


def test_root_is_a_path_when_asked(monkeypatch):
    asked = []
    kind = classmethod(lambda cls, root, options: asked.append((root, options)) or DataFacts(num_classes=1))
    monkeypatch.setattr(Coco, "inspect", kind, raising=False)
    filled("data.num_classes=auto")
    assert asked[0][0] == Path("x")
    assert not any(name.startswith("_") for name in asked[0][1])


def test_the_backbone_follows_the_channels_of_the_data(facts):
    facts(num_classes=3, in_chans=5, value_range=(0.0, 4095.0))
    cfg, _ = filled("data.in_chans=auto", "data.value_range=auto")
    assert cfg.data.in_chans == cfg.backbone.in_chans == 5
    assert list(cfg.data.value_range) == [0.0, 4095.0]
    with pytest.raises(ConfigError, match=r"data.in_chans=5 and backbone.in_chans=4 differ"):
        filled("data.in_chans=5", "backbone.in_chans=4")


def test_a_resumed_run_keeps_what_was_inferred_when_it_began():
    words = ["data=coco", "data.root=x", "data.num_classes=3"]
    began = compose("train", [*words, "data.batch_size=4", "trainer.precision=bf16-mixed", "head.masks=true"])
    cfg = compose("train", [*words, "data.eval_transform.short_edge=64"])
    kept = {one.key: one.value for one in adopt(cfg, began)}
    assert kept == {"data.batch_size": 4, "trainer.precision": "bf16-mixed", "head.masks": True}
    assert cfg.data.eval_transform.short_edge == 64
    assert cfg.data.image_size == "auto"  # open there too
