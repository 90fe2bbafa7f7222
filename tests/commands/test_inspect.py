"""``visionattn inspect``: what it writes, that mistakes are named first, and that random weights are told."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.commands.test_predict import picture
from visionattn import analysis
from visionattn.analysis.inspection import CAUTION, MEASURES
from visionattn.cli import main
from visionattn.runs.open import open_run

pytestmark = pytest.mark.filterwarnings("default")


def inspect(run, source, folder, *words):
    return main(["inspect", f"ckpt={run}", f"source={source}", f"dir={folder}", "device=cpu", *words])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    picture(folder / "a.png", (40, 36))
    picture(folder / "b.png", (40, 36), seed=1)
    return folder


@pytest.fixture(scope="module")
def inspected(trained, pictures):
    folder = pictures.parent / "inspected"
    assert inspect(trained, pictures / "a.png", folder, "points=[[0.5,0.5],[0.1,0.9]]") == 0
    return folder


def test_pictures_numbers_and_a_page_are_written(inspected):
    names = {path.name for path in (inspected / "a").iterdir()}
    assert names >= {"points.png", "field.png", "relevance.png", "rollout.png", "heads.png", "maps.npz", "bias_s3.png"}
    assert {path.name for path in (inspected / "a" / "attention").iterdir()} == {
        f"point{point}_s{stage}.png" for point in (1, 2) for stage in (1, 2, 3)
    }
    contents = json.loads((inspected / "inspection.json").read_text())
    assert contents["caution"] == CAUTION
    (image,) = contents["images"]
    assert image["points"] == [[0.5, 0.5], [0.1, 0.9]]
    assert {one["mixer"] for one in image["attention"]} == {"NeighborhoodAttention", "WindowAttention"}
    assert len(image["heads"]) == 2 * (2 + 4 + 8)
    assert all(one["importance"] >= 0 for one in image["heads"])
    assert [field["stage"] for field in image["fields"]] == ["s1", "s2", "s3"]
    page = (inspected / "report.html").read_text()
    assert "Jain and Wallace 2019" in page
    assert "What a token attends to" in page


def test_the_numbers_are_those_of_the_python_functions(trained, pictures, inspected):
    opened = open_run(trained, hashed=False)
    task, data = opened.task.eval(), opened.data()
    image = Image.open(pictures / "a.png").convert("RGB")
    seen = task.inspected_image(image, data)
    arrays = np.load(inspected / "a" / "maps.npz")
    (first, *_) = analysis.attention_maps(task, seen, (0.5, 0.5), stages="s2", blocks=1)
    np.testing.assert_allclose(arrays["attention_point1_s2_block1_head0"], first.weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(arrays["relevance"], analysis.relevance(task, seen).values[0], rtol=1e-3, atol=1e-6)
    label = int(task(seen).argmax())
    contents = json.loads((inspected / "inspection.json").read_text())
    assert f"class {label}" in contents["images"][0]["prediction"]


def test_several_images_and_a_choice(trained, pictures, tmp_path, capsys):
    words = ["measures=[attention,rollout]", "stages=s3", "blocks=0", "heads=[0,3]", "points=[0.5,0.5]", "images=1"]
    assert inspect(trained, pictures, tmp_path / "out", *words) == 0
    said = capsys.readouterr()
    assert "the first 1 of 2 images are inspected; images=2 takes all" in said.err
    table = [line for line in said.out.splitlines() if line.startswith(("│", "("))]
    assert max(map(len, table)) <= 80
    contents = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert [image["image"] for image in contents["images"]] == ["a"]
    (only,) = contents["images"][0]["attention"]
    assert (only["stage"], only["block"], only["heads"]) == ("s3", 0, [0, 3])
    assert not (tmp_path / "out" / "a" / "field.png").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["points=[[1,2]]"], "the point [1, 2] lies outside of the image"),
        (["stages=s9"], "the model has no stage s9; its stages are s1, s2, s3"),
        (["heads=8"], "no head 8 in the blocks of s1, s2, s3"),
        (["measures=[attention,saliency]"], f"measures are some of {', '.join(MEASURES)}, got saliency"),
        (["measures=[]"], "measures is empty"),
        (["target=eleven"], "target=eleven is no class of the model"),
        (["images=0"], "images is a whole number from 1 on, got 0"),
        (["source=nowhere.jpg"], "source=nowhere.jpg was not found"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(trained, pictures, tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    source = [] if words[0].startswith("source") else [f"source={pictures / 'a.png'}"]
    assert main(["inspect", f"ckpt={trained}", "device=cpu", *source, *words]) != 0
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.rglob("*.png"))


def test_an_unreadable_image_is_named(trained, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert inspect(trained, tmp_path / "broken.png", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "broken.png cannot be read: not an image" in printed.err
    assert f" into {tmp_path / 'out'}; loading PyTorch" in printed.out
    assert not (tmp_path / "out").exists()


def test_random_weights_are_told_and_any_mixer_can_be_looked_at(pictures, tmp_path, capsys):
    words = ["backbone=swin_pico", "mixer@backbone.mixers.s1=pooling", "measures=attention", "device=cpu"]
    source, folder = f"source={pictures / 'a.png'}", f"dir={tmp_path / 'out'}"
    assert main(["inspect", *words, source, folder, "points=[0.5,0.5]"]) == 0
    assert "swin_pico has random weights, so that its attention means nothing" in capsys.readouterr().err
    contents = json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert contents["images"][0]["attention"][0]["kind"] == "implicit"


def test_a_dry_run_reads_the_images_and_writes_nothing(trained, pictures, tmp_path, capsys):
    assert inspect(trained, pictures, tmp_path / "out", "--dry-run") == 0
    assert "images" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
