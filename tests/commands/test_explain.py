"""`visionattn explain` from the command line."""

import json

import pytest

from visionattn.cli import main


def explain(capsys, *words):
    assert main(["explain", *words]) == 0
    return capsys.readouterr().out


def row(text, label):
    return next(line for line in text.splitlines() if line.strip("│├└─ ").startswith(label)).split()


def test_a_model_is_printed_from_stem_to_head_in_eighty_columns(capsys):
    text = explain(capsys, "swin_tiny")
    lines = text.splitlines()
    assert lines[0].startswith("swin_tiny: Swin Transformer")
    assert "arXiv 2103.14030, top-1 81.2 %" in text
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text
    assert row(text, "blocks 0, 2, 4: 3 x Block")[-3:] == ["14x14x384", "5,329,476", "1.063"]
    assert "window_size=7x7, shifted=True" in text
    assert row(text, "total") == ["total", "1000", "28,288,354", "4.474"]
    assert row(text, "card") == ["card", "28,288,354", "4.5"]


@pytest.mark.parametrize("name", ["fastervit_0", "maxvit_tiny", "s2aformer_tiny", "dinat_tiny"])
def test_no_line_is_cut_whatever_the_model(name, capsys):
    text = explain(capsys, f"backbone={name}", "depth=9")
    assert max(map(len, text.splitlines())) <= 80
    assert row(text, "total")[2] == row(text, "card")[1]


def test_overrides_and_another_size(capsys):
    swap = "mixer@backbone.mixers.s3=neighborhood"
    text = explain(capsys, "swin_tiny", "size=[64,96]", "backbone.num_classes=5", swap)
    assert "image 3x64x96" in text
    assert row(text, "mixer: NeighborhoodAttention")[-3] == "4x6x384"
    assert row(text, "total")[1] == "5"


def test_small_models_are_told_in_millions_with_the_classes_of_their_card(capsys):
    text = explain(capsys, "swin_pico", "depth=1")
    assert row(text, "module") == ["module", "output", "parameters", "MMACs"]
    assert row(text, "total") == ["total", "10", "880,982", "8.081"]


def test_json_has_the_whole_tree(capsys):
    document = json.loads(explain(capsys, "swin_pico", "format=json"))
    assert document["model"]["params"] == document["card"]["params"]
    assert document["input_size"] == [3, 32, 32]
    assert document["model"]["parts"][1]["names"] == ["stages.0"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "explain needs a name: visionattn explain NAME; names: agent_cswin_base"),
        (["swin_tinny"], "did you mean swin_tiny?"),
        (["swin_pico", "size=7"], "size is [height, width] in pixels, not 7"),
        (["swin_pico", "size=[0,7]"], "size is [height, width] in pixels"),
        (["swin_pico", "format=xml"], "format is text or json, not xml"),
        (["swin_pico", "backbone.card=null", "backbone.dims=[48]"], "one entry per stage"),
    ],
)
def test_mistakes_are_one_sentence(words, answer, capsys):
    assert main(["explain", *words]) == 2
    assert answer in capsys.readouterr().err
