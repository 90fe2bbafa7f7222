"""A look at some images: what a decoding would spoil is refused with the right value, and what it changes is told."""

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import deep_png, encode, tiff, with_orientation
from visionattn.data.classification import ClassificationData
from visionattn.data.classification.sources.image_folder import ImageFolder
from visionattn.data.survey import read_header, survey
from visionattn.errors import DataError

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1)
RGB = Image.new("RGB", (32, 24), (200, 40, 40))


def folder(root, *files: bytes):
    """An image folder of two classes with these files in each split."""
    for name in ("train/a", "train/b", "val/a", "val/b"):
        (root / name).mkdir(parents=True)
        for index, data in enumerate(files):
            (root / name / f"{index}.png").write_bytes(data)
    return root


def data(root, **options):
    return ClassificationData(ImageFolder, 2, 16, root=str(root), **options)


def test_twelve_bits_in_sixteen_are_refused_with_their_range(tmp_path):
    folder(tmp_path, deep_png(RAMP))
    with pytest.raises(DataError, match=r"values from 0 to 4095 in 16 bits .* keep 17 levels.*value_range=\[0,4095\]"):
        data(tmp_path).records("train")
    stated = data(tmp_path, value_range=[0, 4095])
    stated.setup("fit")
    images = [batch["image"] for batch in stated.val_dataloader()]
    assert len(images[0]) == 2
    whole = data(tmp_path, value_range=[0, 65535])
    whole.setup("fit")
    assert next(iter(whole.val_dataloader()))["image"].max() <= 16


def test_floats_are_refused_with_their_range(tmp_path):
    values = np.linspace(0, 0.5, 24 * 32, dtype=np.float32).reshape(24, 32, 1)
    folder(tmp_path, tiff(values))
    with pytest.raises(DataError, match=r"floats from 0 to 0.5 .*: state their range, as data.value_range=\[0,1\]"):
        data(tmp_path).records("train")
    data(tmp_path, value_range=[0, 1]).records("train")


def test_other_numbers_of_channels_are_refused_with_the_number(tmp_path):
    folder(tmp_path, tiff(np.zeros((24, 32, 5), np.uint8)))
    with pytest.raises(DataError, match=r"have 5 channels .*, data.in_chans is 3: set data.in_chans=5"):
        data(tmp_path).records("train")
    data(tmp_path, in_chans=5).records("train")


def test_what_is_changed_is_told_once(tmp_path, capsys):
    folder(tmp_path, with_orientation(RGB, 6), encode(RGB))
    read = data(tmp_path)
    read.records("train")
    read.records("train")
    told = capsys.readouterr().err
    assert told.count("2 of the 4 images looked at are stored turned") == 1
    assert "data.exif=auto turns them upright" in told
    assert read.records("val").load(0, read.records("val").decoding).size == (24, 32)


def test_published_classes_are_taken_as_stored(tmp_path):
    folder(tmp_path, with_orientation(RGB, 6))
    for split in ("train", "val"):
        for name, wordnet in (("a", "n01440764"), ("b", "n01443537")):
            (tmp_path / split / name).rename(tmp_path / split / wordnet)
    records = data(tmp_path).records("val")
    assert records.decoding.exif == "ignore"
    assert records.load(0, records.decoding).size == (32, 24)


def test_what_a_survey_says():
    files = [deep_png(RAMP[:, :, [0, 0, 0]]), deep_png(3 * RAMP), tiff(RAMP), b"no image"]
    found = survey(files.__getitem__, len(files))
    assert (found.unreadable[0][0], found.channels, found.typical_size) == (3, None, (64, 64))
    assert found.bounds == (0, 3 * 4095)
    assert found.value_range == (0, 16383)
    assert read_header(encode(RGB.quantize(4))).channels == 3
    assert read_header(encode(RGB.convert("LA"))).channels == 2
    assert survey([tiff(np.zeros((8, 8, 7), np.uint8))].__getitem__, 1).channels == 7
    assert survey([encode(RGB.convert("RGBA"))].__getitem__, 1).channels is None
    signed = survey([tiff(RAMP.astype(np.int16) - 100)].__getitem__, 1)
    assert signed.value_range == (-100, 3995)
