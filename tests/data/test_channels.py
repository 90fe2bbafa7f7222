"""Images of other than three channels from the file to the model's input, and weights of RGB for them."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.pictures import tiff
from visionattn import create_backbone
from visionattn.data.classification import ClassificationData, ImageFolder, TrainTransform
from visionattn.data.segmentation import ImageMask, SegmentationData, SegmentationTrainTransform
from visionattn.errors import ConfigError
from visionattn.weights import load_weights


def pixels(seed, channels):
    return np.random.RandomState(seed).randint(0, 256, (24, 32, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_classification(tmp_path, channels, capsys):
    for split in ("train", "val"):
        for label, name in enumerate("ab"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.tif").write_bytes(tiff(pixels(label, channels)))

    def augment(**common):
        return TrainTransform(color_jitter=0.4, auto_augment="rand-m9", re_prob=1.0, vflip=0.5, **common)

    data = ClassificationData(
        ImageFolder, 2, 16, root=str(tmp_path), batch_size=2, in_chans=channels, train_transform=augment
    )
    data.setup("fit")
    for loader in (data.train_dataloader(), data.val_dataloader()):
        batch = data.on_after_batch_transfer(next(iter(loader)), 0)
        assert batch["image"].shape == (2, channels, 16, 16)
        assert batch["image"].dtype == torch.float32
    told = capsys.readouterr().err
    assert f"data.mean has 3 values for {channels} channels: their average 0.449" in told
    assert "color_jitter, auto_augment work on RGB and are left out" in told


def test_segmentation(tmp_path):
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        (tmp_path / split / "images" / "0.tif").write_bytes(tiff(pixels(0, 6)))
        Image.fromarray((pixels(1, 3)[..., 0] > 128).astype(np.uint8)).save(tmp_path / split / "masks" / "0.png")

    def crop(**common):
        return SegmentationTrainTransform(short_edge=None, long_edge=None, distortion=1.0, **common)

    options = {"image_size": 40, "batch_size": 1, "in_chans": 6, "train_transform": crop}
    data = SegmentationData(ImageMask, 2, root=str(tmp_path), **options)
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["image"].shape == (1, 6, 40, 40)
    assert data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)["image"][0].shape == (6, 24, 32)


def test_an_interpolation_of_pillow_alone_is_refused():
    from visionattn.data.classification import EvalTransform

    with pytest.raises(
        ConfigError, match="'lanczos' is for images of three channels; choose one of nearest, bilinear, bicubic"
    ):
        EvalTransform(16, (0.5,) * 5, (0.5,) * 5, interpolation="lanczos")


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_weights_of_rgb_are_folded_or_repeated_as_timm_does(channels):
    from timm.models import adapt_input_conv

    rgb, other = create_backbone("dinat_pico"), create_backbone("dinat_pico", in_chans=channels)
    report = load_weights(other, rgb.state_dict())
    folded = {name: shapes for name, shapes in report.resized.items() if name.startswith("stem.")}
    assert len(folded) == 1
    name, (old, new) = folded.popitem()
    assert (old[1], new[1]) == (3, channels)
    assert torch.equal(other.state_dict()[name], adapt_input_conv(channels, rgb.state_dict()[name]))
    assert any(line.startswith(f"resized: {name}") for line in report.lines())
    if channels == 1:  # of gray as three equal channels the model computes the same
        gray = torch.rand(1, 1, 32, 32)
        with torch.no_grad():
            assert torch.allclose(other.eval()(gray), rgb.eval()(gray.repeat(1, 3, 1, 1)), atol=1e-4)
