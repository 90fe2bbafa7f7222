"""Every kind of file becomes the right RGB picture or a reason; nothing else leaves the decoder."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from visionattn.data.decode import FORMATS, decode_rgb
from visionattn.data.unreadable import UnreadableBudget, UnreadableImage
from visionattn.errors import DataError, UnreadableImagesError

RAMP = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24) * 170


def encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(size: tuple[int, int] = (24, 16)) -> Image.Image:
    values = np.random.RandomState(0).randint(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_rgb(data)
    return str(caught.value)


def test_rgb_is_untouched():
    assert np.array_equal(np.asarray(decode_rgb(encode(picture()))), np.asarray(picture()))


def test_sixteen_bit_gray_is_scaled_not_clipped():
    decoded = np.asarray(decode_rgb(encode(Image.fromarray(RAMP))))
    assert decoded.shape == (16, 24, 3)
    assert np.abs(decoded[..., 0].astype(float) - RAMP / 257).max() <= 0.5


def test_cmyk_jpeg_keeps_its_colors():
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    decoded = np.asarray(decode_rgb(encode(flat.convert("CMYK"), "JPEG", quality=95))).astype(int)
    assert np.abs(decoded - (200, 40, 90)).max() <= 6


@pytest.mark.parametrize("transparency", [None, bytes(range(256))])
def test_palettes_are_looked_up(transparency):
    paletted = picture().quantize(64)
    options = {} if transparency is None else {"transparency": transparency}
    decoded = decode_rgb(encode(paletted, "PNG", **options))
    assert np.array_equal(np.asarray(decoded), np.asarray(paletted.convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA"])
def test_other_modes_become_rgb(mode):
    decoded = decode_rgb(encode(picture().convert(mode)))
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(picture().convert(mode).convert("RGB")))


def test_empty_file():
    assert "0 bytes" in reason(b"")


def test_not_an_image():
    assert "not an image" in reason(b"<html>404 not found</html>")


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_truncated(form):
    whole = encode(picture((64, 64)), form)
    assert "truncated" in reason(whole[: len(whole) // 2]).lower()


def test_decompression_bomb():
    """A small file that says it has 225 million pixels."""
    bomb = bytearray(encode(Image.new("1", (8, 8))))
    import struct
    import zlib

    bomb[16:24] = struct.pack(">II", 15000, 15000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    assert "too many pixels" in reason(bytes(bomb))


def test_floats_and_wide_integers_have_no_agreed_range():
    assert "floating-point" in reason(encode(Image.fromarray(RAMP.astype(np.float32)), "TIFF"))
    assert "outside 0..65535" in reason(encode(Image.fromarray(RAMP.astype(np.int32) * 9), "TIFF"))


def test_postscript_is_never_started():
    assert "EPS" not in FORMATS
    assert "not an image" in reason(encode(picture(), "EPS"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_damage_is_a_reason_never_another_error(form):
    """Flipped bytes and cut ends, 120 per format: decoded or refused, no other exception, no warning."""
    random_state = random.Random(form)
    whole = encode(picture((48, 32)), form)
    refused = 0
    for trial in range(120):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: random_state.randrange(len(whole))]
        for _ in range(random_state.choice([0, 1, 5]) if trial % 2 else random_state.choice([1, 10, 40])):
            if damaged:
                damaged[random_state.randrange(len(damaged))] = random_state.randrange(256)
        try:
            assert decode_rgb(bytes(damaged)).mode == "RGB"
        except UnreadableImage:
            refused += 1
    assert refused > 10


def test_the_budget_counts_distinct_ids_and_lists_ten():
    budget = UnreadableBudget(0.12, 100, "train")
    assert budget.limit == 12
    budget.add([("a", "empty"), ("a", "empty")] * 20)
    budget.add((f"n{number}", "truncated") for number in range(11))
    assert len(budget.records) == 12
    assert not budget.exceeded
    with pytest.raises(UnreadableImagesError) as caught:
        budget.add([("one/too/many.jpg", "zero")])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("13 of the 100 train images cannot be read; the budget is 12")
    assert lines[1] == "  a: empty"
    assert len(lines) == 12
    assert lines[-1] == "  ... and 3 more"


def test_a_budget_of_zero_and_a_wrong_share():
    budget = UnreadableBudget(0.0, 10)
    budget.add([])
    with pytest.raises(UnreadableImagesError, match="1 of the 10"):
        budget.add([("a", "b")])
    with pytest.raises(DataError, match="between 0 and 1"):
        UnreadableBudget(1.5, 10)


def test_deferred_budget_collects_and_writes(tmp_path):
    budget = UnreadableBudget(0.001, 1000)
    with budget.deferred():
        budget.add([("a", "x"), ("b", "y")])
    assert budget.exceeded
    budget.write(tmp_path / "unreadable.json")
    assert '"count": 2' in (tmp_path / "unreadable.json").read_text()
    with pytest.raises(UnreadableImagesError):
        budget.check()
