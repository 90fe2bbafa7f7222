"""What each box format tells a training: classes, and whether the head learns masks."""

import pytest

from tests.corpus import trees
from tests.data.detection.formats.test_instance_masks import numbered
from tests.data.detection.formats.test_lvis import lvis
from tests.data.detection.formats.test_open_images import open_images
from tests.data.detection.formats.trees import voc, yolo
from visionattn import config
from visionattn.runs.infer import infer


def labelme(root):
    trees.labelme(root)
    return root


TREES = {
    "yolo": (yolo, 2, False),
    "pascal_voc_detection": (voc, 2, False),
    "labelme": (labelme, 2, False),
    "lvis": (lvis, 2, True),
    "open_images": (open_images, 2, False),
    "instance_masks": (numbered, 1, True),
}


@pytest.mark.parametrize("name", TREES)
def test_classes_and_masks_are_inferred(tmp_path, name):
    make, classes, masks = TREES[name]
    words = ["task=detection", f"data={name}", f"data.root={make(tmp_path)}", "backbone=dinat_pico"]
    cfg = config.compose("train", [*words, "name=x", "backbone_name=x", "run_dir=x"])
    infer(cfg)
    assert (cfg.data.num_classes, cfg.head.masks) == (classes, masks)


def test_masks_of_0_and_255_keep_their_numbers(tmp_path):
    from tests.data.segmentation.test_own_masks import make

    root = make(tmp_path, draw=lambda mask: (mask > 0).astype("uint8") * 255)
    cfg = config.compose("train", ["data=image_mask", f"data.root={root}", "name=x", "backbone_name=x", "run_dir=x"])
    infer(cfg)
    assert (cfg.data.source.numbers, cfg.data.source.ignore, cfg.data.num_classes) == ([0, 255], [], 2)
