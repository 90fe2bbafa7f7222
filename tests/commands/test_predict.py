"""``visionattn predict``: classification, odd sources, and the same figures as an evaluation."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionattn.cli import main
from visionattn.data.decode import decode_rgb
from visionattn.runs.open import open_run
from visionattn.runs.predictions import Output

PAGE = (Path(__file__).parents[2] / "docs" / "predict.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.filterwarnings("default")


def picture(path, size=(20, 30), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(seed).randint(0, 255, (*size[::-1], 3), np.uint8)).save(path)
    return path


def predict(run, source, folder, *words):
    where = [] if any(word.startswith("device=") for word in words) else ["device=cpu"]
    return main(["predict", f"ckpt={run}", f"source={source}", f"dir={folder}", *where, *words])


def said(folder):
    return json.loads((folder / "predictions.json").read_text())


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder as people have them."""
    folder = tmp_path_factory.mktemp("mine") / "photos"
    picture(folder / "a.png", (640, 480))
    picture(folder / "b" / "a.png", (8, 8), seed=1)
    picture(folder / "Ä ö.webp", (70, 33), seed=2)
    picture(folder / ".cache" / "c.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def answers(trained, mine):
    folder = mine.parent / "out"
    assert predict(trained, mine, folder, "options.top_k=3") == 0
    return folder


def test_a_classifier_lists_the_likeliest_classes(trained, mine, answers):
    found = said(answers)
    assert found["checkpoint"] == str(trained / "checkpoints" / "best.ckpt")
    assert [image["image"] for image in found["images"]] == ["a.png", "b/a.png", "Ä ö.webp"]
    assert [image["size"] for image in found["images"]] == [[640, 480], [8, 8], [70, 33]]
    assert found["images"][1]["source"] == str(mine / "b" / "a.png")
    for image in found["images"]:
        scores = [one["score"] for one in image["top"]]
        assert len(scores) == 3
        assert sorted(scores, reverse=True) == scores
    with (answers / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class_2"] for row in rows] == [image["top"][1]["class"] for image in found["images"]]
    with Image.open(answers / "sheet.png") as sheet:
        assert sheet.width > 600


def test_unreadable_images_are_listed_and_end_nothing(trained, mine, tmp_path, capsys):
    assert predict(trained, mine, tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert f"{mine / 'broken.jpg'} cannot be read: " in shown.err
    assert "1, not predicted" in shown.out
    (one,) = said(tmp_path / "out")["unreadable"]
    assert one["image"] == "broken.jpg"


def test_the_prediction_is_that_of_the_run_on_its_own_images(trained, tmp_path):
    run = open_run(trained)
    data = run.data()
    records = data.records("val")
    for index in range(6):
        Image.fromarray(np.asarray(records.load(index))).save(tmp_path / f"{index}.png")
    assert predict(trained, tmp_path, tmp_path / "out", "batch_size=6") == 0
    batch = next(iter(data.val_dataloader()))
    with torch.inference_mode():
        logits = run.task.eval()(data.to_model_input(batch)["image"][:6])
    found = [image["top"][0] for image in said(tmp_path / "out")["images"]]
    assert [one["label"] for one in found] == logits.argmax(-1).tolist()
    assert [one["score"] for one in found] == pytest.approx(logits.softmax(-1).amax(-1).tolist(), abs=1e-6)


def test_a_turned_photo_is_predicted_upright(trained, tmp_path):
    upright = picture(tmp_path / "upright.png", (40, 20))
    exif = Image.Exif()
    exif[274] = 6
    with Image.open(upright) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert predict(trained, tmp_path, tmp_path / "out") == 0
    turned, plain = said(tmp_path / "out")["images"]
    assert turned["size"] == plain["size"] == [40, 20]
    assert turned["top"] == plain["top"]


def test_nothing_is_overwritten_unless_told_to(trained, mine, answers, tmp_path, capsys):
    before = (answers / "predictions.json").read_bytes()
    assert predict(trained, mine / "a.png", answers) == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert (answers / "predictions.json").read_bytes() == before
    (tmp_path / "file").write_text("x")
    assert predict(trained, mine / "a.png", tmp_path / "file") == 2
    assert "is a file; name a folder" in capsys.readouterr().err
    assert predict(trained, mine / "a.png", mine) == 2
    assert "holds something already: name another folder, or add overwrite=true" in capsys.readouterr().err
    shutil.copytree(answers, tmp_path / "copy")
    assert predict(trained, mine / "a.png", tmp_path / "copy", "overwrite=true") == 0
    assert len(said(tmp_path / "copy")["images"]) == 1
    assert (tmp_path / "copy" / "sheet.png").read_bytes() != (answers / "sheet.png").read_bytes()


@pytest.mark.parametrize(
    ("source", "message"),
    [("broken.jpg", "broken.jpg cannot be read: "), ("*.gif", "matches nothing"), ("none", "was not found")],
)
def test_a_source_without_a_readable_image_leaves_no_folder(trained, mine, tmp_path, capsys, source, message):
    assert predict(trained, mine / source, tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_the_images(trained, mine, tmp_path, capsys):
    assert predict(trained, mine, tmp_path / "out", "--dry-run") == 0
    assert "4" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_what_is_predicted_before_an_interruption_is_kept(trained, mine, tmp_path, monkeypatch, capsys):
    add = Output.add

    def interrupted(self, *args):
        add(self, *args)
        if len(self.records) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Output, "add", interrupted)
    assert predict(trained, mine, tmp_path / "out") == 130
    assert "2 of 4 images are predicted, see " in capsys.readouterr().err
    assert [image["image"] for image in said(tmp_path / "out")["images"]] == ["a.png", "b/a.png"]


def test_a_model_or_a_run_is_needed_and_not_both(tmp_path, capsys):
    source = f"source={picture(tmp_path / 'a.png')}"
    assert main(["predict", source]) == 2
    assert "predict needs ckpt=<a run or its checkpoint>, or a published classifier" in capsys.readouterr().err
    assert main(["predict", source, "ckpt=x", "weights=y"]) == 2
    assert "not both" in capsys.readouterr().err


def test_weights_of_a_classifier_predict_without_a_run(swin, mine, tmp_path):
    words = ["backbone=swin_pico", f"weights={swin}", f"source={mine}", f"dir={tmp_path}/out", "device=cpu"]
    assert main(["predict", *words]) == 0
    first = said(tmp_path / "out")["images"][0]
    assert len(first["top"]) == 5
    assert decode_rgb((mine / "a.png").read_bytes()).size == tuple(first["size"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("timeout=abc", "timeout must be a number, got the text 'abc'"),
        ("timeout=-0.5", "timeout is above 0, got -0.5"),
        ("batch_size=0", "batch_size is a whole number from 1 on, got 0"),
        ("options.top_k=1.5", "options.top_k must be a whole number, got 1.5"),
        ("options.score=30", "options.score is between 0 and 1, got 30"),
        ("recursive=maybe", "recursive must be true or false, got the text 'maybe'"),
        ("device=tpu9", "device=tpu9 cannot be used"),
    ],
)
def test_an_impossible_value_is_answered_in_one_sentence(trained, mine, tmp_path, capsys, word, message):
    assert predict(trained, mine, tmp_path / "out", word) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", re.findall(r"^visionattn (predict .*?)(?:\s{2,}#.*)?$", PAGE, re.MULTILINE))
def test_the_commands_of_the_page_compose(command, capsys):
    assert main([*shlex.split(command), "--cfg", "job"]) == 0, capsys.readouterr().err
