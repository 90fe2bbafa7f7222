"""The report of a run: what it names, and how it shows paths and sample ids."""

from visionattn.runs.provenance import hash_ids
from visionattn.runs.report import write_card
from visionattn.runs.table import relative


def test_card_names_everything(tmp_path):
    image = tmp_path / "plots" / "a.png"
    write_card(
        tmp_path / "README.md",
        title="a run",
        command="visionattn train",
        seed=7,
        model={"backbone": "dinat_pico, mixers s1 window"},
        results={"val/top1": "99.00"},
        data={"train images": 3},
        images={"curves": image},
    )
    card = (tmp_path / "README.md").read_text()
    for part in (
        "# a run",
        "visionattn train",
        "| seed | 7 |",
        "99.00",
        "| backbone | dinat_pico, mixers s1 window |",
        "train images",
        "plots/a.png",
        "torch",
        "commit",
    ):
        assert part in card


def test_ids_hash_does_not_depend_on_the_order():
    assert hash_ids(["b", "a"]) == hash_ids(["a", "b"]) != hash_ids(["a", "c"])


def test_paths_below_the_current_folder_are_shown_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(relative(tmp_path / "x" / "y")) == "x/y"
    assert str(relative("/elsewhere/y")) == "/elsewhere/y"
