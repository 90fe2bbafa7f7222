"""Every command line of the corpus: one sentence and an exit code, or it works."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.corpus.cases import check_said
from tests.corpus.command_cases import DRY, DRY_LINES, LINES, Line
from tests.corpus.trees import TREES
from visionattn.cli import main

NAMES = {"coco": "coco", "panoptic": "panoptic", "masks": "image_mask", "ade20k": "ade20k", "folder": "image_folder"}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> dict[str, str]:
    """What the braces of the lines stand for."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "tmp").mkdir()
    for name, kind in NAMES.items():
        TREES[kind](folder / name)
    known = {name: str(folder / name) for name in [*NAMES, "tmp"]}
    return known | {"run": str(trained), "ckpt": str(trained / "checkpoints" / "best.ckpt")}


def check(line: Line, extra: list[str], places: dict[str, str], folder: Path, capfd: pytest.CaptureFixture) -> None:
    words = [word.format(**places) for word in line.typed.split()]
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("default")
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        code = main([*words, *extra])
    check_said("".join(capfd.readouterr()), code, line.code, line.says)
    if (code or extra) and not line.typed.startswith("data doctor"):  # its report stays
        assert not list(folder.iterdir()), "something was left behind"


@pytest.mark.parametrize("line", DRY_LINES, ids=lambda line: line.typed)
def test_a_training_is_checked_before_it_begins(line, places, tmp_path, capfd):
    check(line, [DRY], places, tmp_path, capfd)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.typed)
def test_a_command_line(line, places, tmp_path, capfd):
    check(line, [], places, tmp_path, capfd)
