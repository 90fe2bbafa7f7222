"""A user's images read ahead of the model, and what is told meanwhile; names of published classifiers."""

import threading
from types import SimpleNamespace

import pytest
from PIL import Image

from visionattn.data.unreadable import UnreadableImage
from visionattn.data.user_images import UserImage
from visionattn.errors import DataError
from visionattn.runs import reading
from visionattn.runs.classifier import NoSamples, _imagenet_names
from visionattn.runs.reading import ReadImages, told
from visionattn.runs.table import print_results


def data():
    def decoding(content, base):
        if content == b"bad":
            raise UnreadableImage("broken")
        return Image.new("RGB", (int(content), 1))

    return SimpleNamespace(decoding=decoding, eval_transform=None)


def images(*contents):
    return [UserImage(f"{place}.png", f"{place}.png", lambda one=one: one) for place, one in enumerate(contents)]


def test_images_come_in_order_and_unreadable_ones_are_set_aside():
    reader = ReadImages(images(b"1", b"bad", b"3", b"4", b"5", b"bad"), data(), batch_size=2)
    widths = [[decoded.width for _, decoded in batch] for batch in reader]
    assert widths == [[1, 3], [4, 5]]
    assert [(image.name, reason) for image, reason in reader.unreadable] == [("1.png", "broken"), ("5.png", "broken")]


def test_only_a_few_images_are_read_ahead():
    count, lock = [0], threading.Lock()

    def read():
        with lock:
            count[0] += 1
        return b"7"

    many = [UserImage(f"{place}.png", "", read) for place in range(200)]
    batches = iter(ReadImages(many, data(), batch_size=4, workers=3))
    next(batches)
    assert count[0] <= 4 + 2 * 4 + 3
    batches.close()
    assert count[0] < 30


def test_without_a_terminal_a_line_now_and_then_tells_how_far_it_is(monkeypatch, capsys):
    seconds = iter(range(0, 1000, 4))
    monkeypatch.setattr(reading.time, "monotonic", lambda: float(next(seconds)))
    assert list(told(((done, done) for done in range(1, 8)), 1200)) == [1, 2, 3, 4, 5, 6, 7]
    assert capsys.readouterr().err.splitlines() == [
        "3 of 1,200 images, 0.25 images/s",
        "6 of 1,200 images, 0.25 images/s",
    ]


def test_the_classes_of_imagenet_have_a_thousand_names():
    names = _imagenet_names(1000)
    assert len(set(names)) == 1000
    assert names[0] == "tench"
    assert "crane (n02012849)" in names
    assert _imagenet_names(10) == []


def test_a_published_model_has_no_images_of_its_own():
    with pytest.raises(DataError, match="has no val images of its own"):
        NoSamples().open("val")


def test_brackets_in_names_are_no_markup(capsys):
    print_results("predictions", {"[red] [/x]": "[a]"}, {"folder": "/data/[b]"})
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[red] [/x]", "[a]", "/data/[b]"))
