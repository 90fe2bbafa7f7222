"""What observers draw of a run: the first training batch, and pictures that cannot be written."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from visionattn.data.classes import ClassInfo
from visionattn.data.normalize import Normalize
from visionattn.tasks.classification.observer import ClassificationObserver
from visionattn.tasks.detection.observer import DetectionObserver
from visionattn.tasks.observer import FIRST_BATCH, PLOTS, Observer, drawn
from visionattn.tasks.pictures import as_image
from visionattn.tasks.segmentation.observer import SegmentationObserver

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_a_normalized_image_is_itself_again(channels, shown):
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    mean, std = (MEAN * 2)[:channels], (STD * 2)[:channels]
    image = as_image(Normalize(mean, std)(pixels.clone()), mean, std)
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), pixels.numpy()[shown])


def data(**info):
    names = ["background", "cat", "dog"]
    return SimpleNamespace(mean=MEAN, std=STD, class_names=names, class_info=ClassInfo(names=names, **info))


def batch(**more):
    images = Normalize(MEAN, STD)(torch.randint(0, 256, (3, 3, 20, 30), dtype=torch.uint8))
    return {"image": images, "id": ["a/1.jpg", "b/2.jpg", "c/3.jpg"], **more}


def trainer(folder, module):
    return SimpleNamespace(is_global_zero=True, default_root_dir=str(folder), datamodule=module)


def test_mixed_images_name_both_classes():
    observer, one = ClassificationObserver(), batch(target=torch.tensor([0, 1, 2]))
    observer.on_train_batch_start(None, None, one, 0)
    one["image"][0] = 0.5 * one["image"][0] + 0.5 * one["image"][2]
    captions = [caption for _, caption in observer.tiles(one, data(), 12)]
    assert captions == ["background + dog\n1.jpg", "cat\n2.jpg", "dog\n3.jpg"]


@pytest.mark.parametrize(
    ("observer", "target", "info"),
    [
        (ClassificationObserver(), torch.tensor([0, 1, 2]), {}),
        (
            SegmentationObserver(None, None),
            torch.full((3, 20, 30), 255),
            {"palette": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]},
        ),
        (
            DetectionObserver(None),
            [{"boxes": torch.tensor([[2.0, 3, 20, 15]]), "labels": torch.tensor([1])}] * 3,
            {"ids": [1, 2, 3]},
        ),
    ],
)
def test_the_first_batch_is_drawn_once_and_takes_no_random_number(tmp_path, observer, target, info):
    one, where = batch(target=target, size=[(20, 30)] * 3), trainer(tmp_path, data(**info))
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    for step in range(2):
        observer.on_train_batch_start(where, None, one, step)
        observer.on_train_batch_end(where, None, None, one, step)
        if not step:
            (tmp_path / PLOTS / FIRST_BATCH).rename(tmp_path / "first.png")
    assert torch.equal(state[0], torch.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])
    assert not (tmp_path / PLOTS / FIRST_BATCH).exists()
    with Image.open(tmp_path / "first.png") as sheet:
        assert sheet.width > 3 * 360


def test_pictures_that_cannot_be_written_are_told_once(tmp_path, capsys):
    class Full(Observer):
        def draw(self, folder, data):
            raise OSError(28, "No space left on device")

    assert drawn(Full(), tmp_path / "plots", None) == {}
    (tmp_path / "file").write_text("")
    assert drawn(Observer(), tmp_path / "file", None) == {}
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("plots: No space left on device")
    assert len(lines) == 2
