"""The commands of docs/own_images.md do what they say, in the page's order, and its tables name what there is."""

import re
import shlex
from pathlib import Path

import pytest

from visionattn.cli import main
from visionattn.data.recognize import LOOKED_FOR
from visionattn.runs import own_folder

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "own_images.md").read_text(encoding="utf-8")
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("visionattn ") and "my_folder" not in line]
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "data.num_workers=0"]


@pytest.mark.docs
@pytest.mark.filterwarnings("default")
def test_the_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        assert main([*words, *(SHORT if words[0] == "train" else [])]) == 0, capsys.readouterr().err
        shown = capsys.readouterr().out
        if "hydra.run.dir=runs/first" in words:
            block = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
            assert block is not None
            assert block[1] in shown
            assert (tmp_path / "runs" / "first" / "report.html").is_file()


def test_every_layout_of_the_table_is_looked_for():
    table = PAGE.partition("## What is recognized")[2].partition("`data=` also")[0]
    named = {name for row in re.findall(r"\| ([`\w, ]+) \| \w+ \|", table) for name in re.findall(r"`(\w+)`", row)}
    looked = set(re.findall(r"\w+", " ".join(re.findall(r"\(([\w, ]+)\)", LOOKED_FOR))))
    assert named == looked


def test_the_backbones_of_the_table_are_those_that_are_chosen():
    chosen = PAGE.partition("## What is chosen")[2]
    small, large = (row for row in chosen.splitlines() if row.startswith("| backbone"))
    assert f"up to {own_folder.SMALL} pixels" in small
    assert own_folder.SMALL_BACKBONE in small
    assert own_folder.ON_GPU in large
    assert {*own_folder.ON_CPU.values(), own_folder.DENSE_ON_CPU} <= set(re.findall(r"\w+", large))
