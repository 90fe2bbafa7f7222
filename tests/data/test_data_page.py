"""The commands of docs/data.md compose as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from visionattn.cli import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("visionattn ")
]


@pytest.mark.parametrize("line", LINES)
def test_a_command_composes(line, capsys):
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "--dry-run"]
    assert main([*words, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_every_format_has_a_command():
    named = {word.partition("=")[2] for line in LINES for word in shlex.split(line) if word.startswith("data=")}
    assert named >= {"yolo", "pascal_voc_detection", "lvis", "open_images", "instance_masks", "csv"}
    assert "hugging_face_detection" in named
