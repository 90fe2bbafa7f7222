"""The snippets of docs/python.md run as they stand there, one after the other (`make docs`)."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.docs
@pytest.mark.filterwarnings("default")
def test_the_snippets_run(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "outputs/run")
    Path("photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.png"):
        Image.fromarray(np.random.RandomState(0).randint(0, 255, (40, 60, 3), np.uint8)).save(name)
    names: dict[str, object] = {}
    for number, snippet in enumerate(SNIPPETS, 1):
        exec(compile(snippet, f"snippet {number}", "exec"), names)
    assert Path("drawn.png").is_file()
    assert Path("predicted/predictions.json").is_file()
    assert capsys.readouterr().out
