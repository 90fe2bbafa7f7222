"""Images that cannot be read: counted and named, in training and in evaluation, down to the command's exit code."""

import pytest

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


def test_within_the_budget_the_run_goes_on(folder):
    broken = sorted((folder / "train").rglob("*.JPEG"))[3]
    broken.write_bytes(b"")
    assert train(folder, 0.1) == 0
