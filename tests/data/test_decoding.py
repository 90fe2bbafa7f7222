"""Bits, channels, pages and orientation: the pixels of a file are those that the data set states."""

import io
import random

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.pictures import deep_png, encode, tiff, with_orientation
from visionattn.data import DetectionData
from visionattn.data.classification import ClassificationData
from visionattn.data.decode import decode_rgb
from visionattn.data.decoding import Decoding, as_range
from visionattn.data.orientation import orientation
from visionattn.data.stored import stored
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError

RAMP = (np.arange(64 * 64, dtype=np.uint16)).reshape(64, 64, 1)  # 12 bits: 0 to 4095
COLOR = np.random.RandomState(0).randint(0, 4096, (23, 37, 3)).astype(np.uint16)
PICTURE = Image.fromarray(np.random.RandomState(1).randint(0, 256, (16, 24, 3), dtype=np.uint8))


def pixels(data: bytes, **options) -> np.ndarray:
    image = Decoding(**options)(data)
    return image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else np.asarray(image)


@pytest.mark.parametrize("data", [deep_png(RAMP), tiff(RAMP), encode(Image.fromarray(RAMP[..., 0]))])
def test_twelve_bits_in_sixteen_keep_their_gray_levels(data):
    assert len(np.unique(pixels(data))) == 17  # in the range of 16 bits
    gray = pixels(data, value_range=(0.0, 4095.0))
    assert len(np.unique(gray)) == 256
    assert np.array_equal(gray[..., 0], np.round(RAMP[..., 0] * 255.0 / 4095))
    assert np.array_equal(gray[..., 0], gray[..., 2])


@pytest.mark.parametrize("data", [deep_png(COLOR), tiff(COLOR), tiff(COLOR, planar=True, deflate=True)])
def test_sixteen_bits_of_color_are_scaled_not_cut(data):
    assert np.array_equal(pixels(data, value_range=(0.0, 4095.0)), np.round(COLOR * 255.0 / 4095))
    assert np.array_equal(pixels(data), np.round(COLOR / 257.0))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_layout_of_tiff_is_read_as_it_is_stored(dtype, channels, order):
    values = (np.random.RandomState(channels).rand(23, 37, channels) * (200 if dtype == "u1" else 5000)).astype(dtype)
    last = 3 if dtype.startswith("f") else 2
    for options in ({}, {"planar": True}, {"deflate": True, "tile": 16}, {"deflate": True, "predictor": last}):
        assert np.array_equal(stored(tiff(values, order, **options)).values, values), options
    tiles = {"deflate": True, "predictor": last, "tile": 16, "planar": True}
    assert np.array_equal(stored(tiff(values, order, **tiles)).values, values)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_png_are_read_as_they_are_stored(channels):
    values = np.random.RandomState(channels).randint(0, 65536, (23, 37, channels)).astype(np.uint16)
    assert np.array_equal(stored(deep_png(values)).values, values)


def test_floats_need_a_range():
    values = np.linspace(-1, 1, 24 * 16, dtype=np.float32).reshape(16, 24, 1)
    with pytest.raises(UnreadableImage, match=r"data\.value_range=\[lowest, highest\]; here they are -1 to 1"):
        pixels(tiff(values))
    scaled = pixels(tiff(values), value_range=(-1.0, 1.0), channels=1)
    assert scaled.dtype == np.uint8
    assert scaled[0, 0, 0] == 0
    assert scaled[-1, -1, 0] == 255
    values[0, 0] = np.nan
    assert pixels(tiff(values), value_range=(-1.0, 1.0), channels=1)[0, 0, 0] == 0


def test_channels_as_many_as_are_asked_for():
    five = np.random.RandomState(0).randint(0, 256, (16, 24, 5), dtype=np.uint8)
    assert np.array_equal(pixels(tiff(five), channels=5), five)
    with pytest.raises(UnreadableImage, match=r"it has 5 channels, data\.in_chans is 3"):
        pixels(tiff(five))
    rgb = np.asarray(PICTURE)
    transparent = PICTURE.copy()
    transparent.putalpha(77)
    assert np.array_equal(pixels(encode(transparent)), rgb)
    assert np.array_equal(pixels(encode(transparent), channels=4), np.asarray(transparent))
    assert np.array_equal(pixels(encode(PICTURE), channels=1)[..., 0], np.asarray(PICTURE.convert("L")))
    assert np.array_equal(pixels(encode(PICTURE.convert("L")), channels=1)[..., 0], np.asarray(PICTURE.convert("L")))
    with pytest.raises(UnreadableImage, match=r"it has 3 channels, data\.in_chans is 4"):
        pixels(encode(PICTURE), channels=4)


def test_pages_are_chosen_or_stacked():
    frames = [Image.fromarray(np.full((16, 24), value, np.uint8)) for value in (10, 20, 30, 40)]
    data = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert pixels(data).max() == 10
    assert pixels(data, page=2).max() == 30
    assert pixels(data, page="stack", channels=4)[0, 0].tolist() == [10, 20, 30, 40]
    with pytest.raises(UnreadableImage, match=r"it has no page 4, only 4"):
        pixels(data, page=4)
    with pytest.raises(UnreadableImage, match=r"it has 4 channels, data\.in_chans is 3"):
        pixels(data, page="stack")


def test_palettes_keep_their_colors():
    paletted = PICTURE.quantize(16)
    data = encode(paletted, transparency=bytes(range(100, 116)))
    assert np.array_equal(pixels(data, page=0), np.asarray(paletted.convert("RGB")))
    assert pixels(data, channels=4).shape == (16, 24, 4)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation(form, turn):
    """Pillow's own exif_transpose is the judge, for images and for tensors."""
    from PIL import ImageOps

    data = with_orientation(PICTURE, turn, form)
    assert orientation(data) == turn
    with Image.open(io.BytesIO(data)) as image:
        right, as_stored = np.asarray(ImageOps.exif_transpose(image.convert("RGB"))), np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels(data, exif="apply"), right)
    assert np.array_equal(pixels(data), right)  # nothing states a size
    assert np.array_equal(pixels(data, exif="ignore"), as_stored)
    assert np.array_equal(np.asarray(Decoding()(data, (24, 16), decode_rgb)), right if turn >= 5 else as_stored)
    assert np.array_equal(np.asarray(Decoding()(data, (16, 24), decode_rgb)), as_stored if turn >= 5 else right)


def test_a_tiff_file_is_upright():
    values = np.random.RandomState(0).randint(0, 4096, (16, 24, 3)).astype(np.uint16)
    data = tiff(values, tags={274: 6})
    assert np.array_equal(stored(data).values, np.rot90(values, -1))
    assert pixels(data, exif="ignore").shape == (24, 16, 3)


def test_impossible_options():
    for options in ({"exif": "yes"}, {"channels": 0}, {"page": -1}, {"page": "all"}):
        with pytest.raises(ConfigError, match=r"data\."):
            Decoding(**options)
    for wrong in ([1], [5, 5], [3, 1], "ab", 7, [0, float("nan")]):
        with pytest.raises(ConfigError, match=r"data\.value_range is"):
            as_range(wrong)
    assert as_range([0, 4095]) == (0.0, 4095.0)


def test_damaged_files_are_reasons():
    random_state = random.Random(0)
    whole = [tiff(COLOR, deflate=True, predictor=2), tiff(COLOR.astype(np.float32), tile=16), deep_png(COLOR)]
    refused = 0
    for data in whole:
        for _ in range(100):
            damaged = bytearray(data[: random_state.randrange(len(data))] if random_state.random() < 0.3 else data)
            for _ in range(random_state.choice([1, 3, 30])):
                if damaged:
                    damaged[random_state.randrange(len(damaged))] = random_state.randrange(256)
            try:
                assert pixels(bytes(damaged), value_range=(0.0, 4095.0)).dtype == np.uint8
            except UnreadableImage:
                refused += 1
    assert refused > 30


def test_mean_and_std_follow_the_channels():
    class Nothing:
        def open(self, split):
            raise AssertionError

    data = ClassificationData(Nothing(), 2, 8, mean=[0.5], std=[0.25], in_chans=5)
    assert (data.in_chans, data.mean, data.std) == (5, (0.5,) * 5, (0.25,) * 5)
    three = ClassificationData(Nothing(), 2, 8, mean=[0.2, 0.4, 0.6], std=[1.0, 1.0, 1.0], in_chans=4)
    assert three.mean == pytest.approx((0.4,) * 4)
    detection = DetectionData(Nothing(), 2, train_transform=lambda **_: None, exif="ignore", value_range=[0, 4095])
    assert detection.decoding == Decoding(3, (0.0, 4095.0), "ignore")
