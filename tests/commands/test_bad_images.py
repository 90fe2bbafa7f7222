"""Images that cannot be read: counted and named, in training and in evaluation, down to the command's exit code."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from visionattn.cli import main
from visionattn.data.shapes import make_shapes

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_shapes("imagenet", tmp_path / "shapes", num_train=40, num_val=20, image_size=32)
    return tmp_path / "shapes"


def train(folder, budget):
    options = ["data=shapes", f"data.root={folder}", f"data.unreadable_budget={budget}", "data.num_workers=0"]
    size = ["data.batch_size=8", "data.image_size=32", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    return main(["train", "backbone=swin_pico", *options, *size])


@pytest.mark.parametrize("split", ["train", "val"])
def test_over_the_budget_the_run_stops_and_names_the_file(folder, split, capsys):
    broken = sorted((folder / split).rglob("*.JPEG"))[3]
    broken.write_bytes(broken.read_bytes()[:100])
    assert train(folder, 0.0) == 1
    error = capsys.readouterr().err
    assert broken.name in error
    assert f"1 of the {40 if split == 'train' else 20} {split} images cannot be read" in error


def test_within_the_budget_the_run_goes_on_and_lists_them(folder, tmp_path):
    """Truncated, empty, no image, a bomb: listed. CMYK and 16 bit: read."""
    files = sorted((folder / "train").rglob("*.JPEG"))
    broken = {files[3]: files[3].read_bytes()[:100], files[7]: b"", files[11]: b"no image", files[15]: bomb()}
    for path, contents in broken.items():
        path.write_bytes(contents)
    Image.open(files[20]).convert("CMYK").save(files[20], "JPEG")
    Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(files[21], "PNG")
    assert train(folder, 0.1) == 0
    found = next(tmp_path.rglob("unreadable.json"))
    listed = {entry["id"].rpartition("/")[2]: entry["reason"] for entry in json.loads(found.read_text())[0]["images"]}
    assert listed.keys() == {path.name for path in broken}
    assert "empty" in listed[files[7].name]
    assert "too many pixels" in listed[files[15].name]


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 20,000 x 20,000 pixels."""
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_batch_of_nothing_readable_names_its_files(folder, capsys):
    files = sorted((folder / "train").rglob("*.JPEG"))
    for path in files:
        path.write_bytes(b"no image")
    assert train(folder, 1.0) == 1
    error = capsys.readouterr().err
    assert "none of the images of a training batch can be read" in error
    assert any(path.name in error for path in files)
