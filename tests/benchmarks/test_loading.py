"""The benchmark of the input pipeline: both loaders give all images, figures and files are as promised."""

import io
import json

import pytest
from PIL import Image

from visionattn.benchmarks.loading import draw_jpeg, run_loading
from visionattn.cli import main


# timm leaves its files to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_rows_of_both_loaders(tmp_path, capsys):
    rows = run_loading(num_images=4, batch=2, size=32, repeats=1, device="cpu", output_dir=tmp_path)
    assert [row["loader"] for row in rows] == ["visionattn", "timm", "timm without prefetcher"] * 2
    assert [row["recipe"] for row in rows] == ["plain"] * 3 + ["deit"] * 3
    assert all(row["images_per_second_and_core"] > 0 for row in rows)
    assert max(row["times_best_timm"] for row in rows[1:3]) == 1.0
    document = json.loads(next(tmp_path.glob("loading_*.json")).read_text())
    assert document["rows"] == rows
    assert "x best timm" in capsys.readouterr().out


def test_drawn_images_have_imagenets_size_on_disk():
    data = draw_jpeg(3)
    assert 80_000 < len(data) < 160_000  # ImageNet's mean is 110 kB
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (500, 375)
        assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("words", "message"), [(["recipes=[best]"], "got best"), (["num_images=65", "batch=64"], "no multiple of batch=64")]
)
def test_numbers_that_do_not_fit_are_one_sentence(words, message, capsys):
    assert main(["benchmark", "loading", *words]) == 2
    assert message in capsys.readouterr().err
