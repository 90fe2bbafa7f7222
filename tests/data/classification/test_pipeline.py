"""From the file to the device: torchvision's decoding and cropping against Pillow's, erasing and normalizing last."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from tests.data.helpers import jpeg, make_tree
from visionattn.data import ClassificationData
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.classification.transforms import EvalTransform, TrainTransform
from visionattn.data.decode import decode_fast, decode_rgb
from visionattn.data.normalize import Normalize
from visionattn.data.seeding import SampleRandomState
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPE = {"auto_augment": "rand-m9-mstd0.5-inc1", "interpolation": "random", "re_prob": 0.6, "re_mode": "pixel"}


def picture_of(seed, size=(97, 61)):
    noise = np.random.RandomState(seed).randint(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(picture):
    return picture if isinstance(picture, torch.Tensor) else torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def answer(decode, content):
    """Pixels, or the reason why there are none."""
    try:
        return pixels(decode(content))
    except UnreadableImage as error:
        return str(error)


FILES = {
    "plain": encoded(picture_of(1)),
    "no subsampling": encoded(picture_of(2), subsampling=0, quality=95),
    "progressive": encoded(picture_of(3), progressive=True),
    "gray": encoded(picture_of(4).convert("L")),
    "cmyk": encoded(picture_of(5).convert("CMYK")),
    "turned": encoded(picture_of(6), exif=bytes.fromhex("4578696600004d4d002a000000080001011200030000000100060000")),
    "png": encoded(picture_of(7), "PNG"),
    "png called jpeg": encoded(picture_of(8), "PNG"),
}


@pytest.mark.parametrize("name", list(FILES))
def test_fast_decoding_gives_the_same_pixels(name):
    fast = decode_fast(FILES[name])
    assert isinstance(fast, torch.Tensor) == (name in ("plain", "no subsampling", "progressive", "gray", "turned"))
    assert torch.equal(pixels(fast), pixels(decode_rgb(FILES[name])))


def test_fast_decoding_refuses_what_pillow_refuses():
    data = FILES["plain"]
    random = np.random.RandomState(0)
    damaged = [data[:cut] for cut in range(0, len(data), 37)]
    for _ in range(150):
        changed = bytearray(data)
        changed[random.randint(2, len(data))] ^= 1 << random.randint(8)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        answers = [answer(decode, content) for decode in (decode_rgb, decode_fast)]
        refused += isinstance(answers[0], str)
        assert type(answers[0]) is type(answers[1])
        assert answers[0] == answers[1] if isinstance(answers[0], str) else torch.equal(*answers)
    assert refused > len(data) // 37


def test_a_bomb_is_not_decoded_by_torchvision():
    data = bytearray(FILES["plain"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(UnreadableImage, match="too many pixels"):
        decode_fast(bytes(data))


def test_tensors_get_the_draws_of_timm_and_pixels_within_one_level():
    options = {"scale": (0.1, 1.0), "interpolation": "random", "hflip": 0.5, "vflip": 0.3, "color_jitter": None}
    ours = TrainTransform((24, 32), decoder="torchvision", **options)
    theirs = create_transform((3, 24, 32), is_training=True, normalize=False, **options)
    assert not any("to_picture" in getattr(step, "__name__", "") for step in ours._steps)
    for draw in range(40):
        data = encoded(picture_of(draw, (60 + draw, 90 - draw)))
        with SampleRandomState(draw):
            expected = theirs(decode_rgb(data))
        with SampleRandomState(draw):
            found = ours(ours.decode(data))
            after = torch.rand(1)
        with SampleRandomState(draw):
            theirs(decode_rgb(data))
            assert torch.equal(torch.rand(1), after)
        assert found.dtype == torch.uint8
        assert (found.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    "options", [RECIPE, {"color_jitter": 0.4, "re_prob": 0.9}, {"re_prob": 0.9, "re_mode": "rand"}]
)
def test_the_finished_batch_is_timms_to_the_bit(options):
    """With Pillow's decoder: crop, augmentation, erasing and normalization, as timm does them in one go."""
    ours = TrainTransform(32, MEAN, STD, **options)
    theirs = create_transform(32, is_training=True, mean=MEAN, std=STD, **options)
    data, erased = ClassificationData(ImageFolder("/nowhere"), 3, 32, mean=MEAN, std=STD), 0
    for draw in range(25):
        picture = picture_of(draw)
        try:
            with SampleRandomState(draw):
                expected = theirs(picture)
        except ValueError:  # timm's posterize of 0 bits, which Pillow 13 refuses
            continue
        with SampleRandomState(draw):
            image, erasures = ours(picture), ours.erasures()
        erased += len(erasures)
        batch = {"image": image[None], "erased": [(0, *erasure) for erasure in erasures], "id": ["x"]}
        finished = data.to_model_input(batch)
        assert torch.equal(finished["image"][0], expected)
        assert set(finished) == {"image", "id"}
    assert erased > 5


def test_evaluation_is_finished_to_the_bit():
    ours = EvalTransform(32, MEAN, STD)
    theirs = create_transform(32, mean=MEAN, std=STD, crop_pct=0.875, interpolation="bicubic")
    finished = Normalize(MEAN, STD)(torch.stack([ours(picture_of(1)), ours(picture_of(2))]))
    assert torch.equal(finished, torch.stack([theirs(picture_of(1)), theirs(picture_of(2))]))


def test_floats_are_left_alone():
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(Normalize(MEAN, STD)(images), images)


@pytest.mark.parametrize("options", [{"train_crop_mode": "rkrc"}, {"interpolation": "lanczos"}])
def test_other_crops_go_through_pillow(options):
    transform = TrainTransform(24, decoder="torchvision", **options)
    assert transform(transform.decode(FILES["plain"])).shape == (3, 24, 24)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ConfigError, match="'opencv' is not one of pillow, torchvision"):
        TrainTransform(24, decoder="opencv")


def test_the_data_module_finishes_its_batches(tmp_path):
    make_tree(tmp_path, {"train": 4})
    (tmp_path / "train" / "ant" / "1.jpg").write_bytes(FILES["cmyk"])
    (tmp_path / "train" / "ant" / "2.jpg").write_bytes(b"")

    def recipe(**common):
        return TrainTransform(decoder="torchvision", **RECIPE, **common)

    module = ClassificationData(ImageFolder(str(tmp_path)), 3, 24, batch_size=6, train_transform=recipe)
    batches = [module.on_after_batch_transfer(batch, 0) for batch in module.train_dataloader()]
    assert [batch["image"].shape for batch in batches] == [(6, 3, 24, 24)] * 2
    assert all(batch["image"].dtype == torch.float32 for batch in batches)
    assert {name for batch in batches for name, _ in batch["unreadable"]} == {"train/ant/2.jpg"}
    assert all(torch.isfinite(batch["image"]).all() for batch in batches)


def test_memory_is_pinned_only_for_an_accelerator(monkeypatch):
    for there in (False, True):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda there=there: there)
        module = ClassificationData(ImageFolder("/nowhere"), 3, 24, pin_memory=True)
        assert module._loading["pin_memory"] is there


def test_jpeg_helper_is_an_ordinary_jpeg():
    assert isinstance(decode_fast(jpeg(1)), torch.Tensor)
