"""Words that every room's errors share."""

import pytest

from visionattn.errors import counted, did_you_mean, near_names


def test_a_number_has_its_noun():
    assert counted(1, "epoch") == "1 epoch"
    assert counted(1200, "entry", "entries") == "1,200 entries"


def test_the_nearest_names_come_first_and_once():
    assert near_names("swin_tny", ["swin_tiny_21k", "swin_tiny", "swin_tiny", "rcnn"], 3) == [
        "swin_tiny",
        "swin_tiny_21k",
    ]
    assert near_names("swin_tny", ["mask_rcnn"]) == []


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        (["train", "evaluate"], "; did you mean train?"),
        ({"train": 1, "evaluate": 2}, "; did you mean train?"),
        (["predict"], ""),
        ([], ""),
    ],
)
def test_a_hint_names_what_is_near_or_is_empty(known, hint):
    assert did_you_mean("trian", known) == hint


def test_a_hint_may_name_several_and_in_another_way():
    assert did_you_mean("trian", ["train"], shown=str.upper) == "; did you mean TRAIN?"
    assert did_you_mean("resnt18", ["resnet18", "resnet10", "vit"], 3) == "; did you mean resnet18 or resnet10?"
