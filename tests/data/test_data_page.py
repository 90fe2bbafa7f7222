"""docs/data.md has a command for every format; tests/pages runs them."""

import re
import shlex
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("visionattn ")
]


def test_every_format_has_a_command():
    named = {word.partition("=")[2] for line in LINES for word in shlex.split(line) if word.startswith("data=")}
    assert named >= {
        "yolo",
        "pascal_voc_detection",
        "lvis",
        "open_images",
        "instance_masks",
        "csv",
        "labelme",
        "labelme_masks",
    }
    assert "hugging_face_detection" in named
