"""What the pages of docs/ show works: own parts train, snippets run, every key of the migration page exists.

`make docs` runs this file; tests/pages runs the commands of the other pages.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import visionattn
from tests.pages.lines import FENCE, commands, own_files
from visionattn.cli import main

pytestmark = [pytest.mark.docs, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).resolve().parents[1]
NO_RUN = {"list", "keys", "explain"}  # commands of no configuration
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"]


def composed(command: str) -> list[str]:
    """The words of a command that composes its configuration and does nothing else."""
    words = [word for word in shlex.split(command, comments=True)[1:] if word not in ("--dry-run", "...")]
    words = [word.replace("experiment=...", "experiment=imagenet/swin_tiny") for word in words]
    sweep = "-m" in words
    words = [word.split(",")[0] if sweep else word for word in words if word != "-m"]
    return words if words[0] in NO_RUN or "--help" in words or "--cfg" in words else [*words, "--cfg", "job"]


@pytest.mark.parametrize("command", commands("extend"))
def test_own_parts_run(command, tmp_path, monkeypatch):
    own_files("extend", tmp_path)
    monkeypatch.chdir(tmp_path)
    given = shlex.split(command)[1:]
    if "shapes" in command and given[0] == "train":
        assert main(["data", "make=shapes", "layout=ade20k", "dir=shapes", "num_train=8", "num_val=4"]) == 0
    short = SHORT if given[0] == "train" and "--dry-run" not in given else []
    done = subprocess.run(
        [str(Path(sys.executable).with_name("visionattn")), *given, *short],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def given(page: str) -> dict[str, object]:
    """What the snippets of a page take for granted."""
    if page != "kernels":
        return {}
    q = torch.randn(1, 56, 56, 2, 4)
    return {
        **dict.fromkeys("qkv", q),
        "places": torch.rand(1, 56, 56, 2),
        "table": torch.randn(2, 13, 13),
        "routes": torch.randint(0, 49, (1, 49, 4)),
        "model": visionattn.create_backbone("swin_pico"),
        "images": torch.randn(1, 3, 32, 32),
    }


def given_tokens() -> dict[str, object]:
    """A map in one line, and 49 tokens that gather from it."""
    tokens, agents = torch.randn(1, 196, 2, 4), torch.randn(1, 49, 2, 4)
    biases = {"to_agents": torch.randn(2, 49, 196), "from_agents": torch.randn(2, 196, 49)}
    return {**dict.fromkeys("qkv", tokens), "agents": agents, **biases}


def given_scan() -> dict[str, object]:
    """A map of 8 channels, four directions and one state."""
    steps, turns = torch.rand(1, 14, 14, 4, 8), torch.randn(1, 14, 14, 4, 1)
    return {"x": torch.randn(1, 14, 14, 8), "delta": steps, "a": -torch.rand(4, 8, 1), "b": turns, "c": turns}


@pytest.mark.parametrize("page", ["backbones", "inspect", "kernels", "reports"])
def test_every_snippet_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    names = given(page)
    for number, snippet in enumerate(code for language, code in FENCE.findall(text) if language == "python"):
        own = given_tokens() if "token_attention(" in snippet else given_scan() if "selective_scan(" in snippet else {}
        exec(compile(snippet, f"{page}.md, snippet {number}", "exec"), {**names, **own})


def test_no_page_shows_code_that_no_test_runs():
    """Pages with snippets are those above, python.md and the two whose files are written and run as packages."""
    shown = {path.stem for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text(encoding="utf-8")}
    assert shown == {"backbones", "inspect", "kernels", "reports", "python", "extend", "guide"}


def test_what_the_page_on_safety_shows_is_what_the_command_says(capsys):
    (line, *answer) = next(
        text for _, text in FENCE.findall((ROOT / "docs/safety.md").read_text(encoding="utf-8")) if text[0] == "$"
    ).splitlines()
    assert main(shlex.split(line)[2:]) == 2
    assert " ".join(answer) in capsys.readouterr().err


def notebooks() -> list[Path]:
    return sorted((ROOT / "docs").glob("*.ipynb"))


def test_notebooks_hold_no_output_and_their_links_exist():
    assert len(notebooks()) == 2
    for path in notebooks():  # `mkdocs build` executes them
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), path
        for target in re.findall(r"\]\((\w+\.\w+)\)", "".join("".join(cell["source"]) for cell in cells)):
            assert (path.parent / target).is_file(), target


def migration_rows() -> list[tuple[str, list[str]]]:
    """(row, the pieces of code in its right column) of the migration page's tables."""
    rows = []
    for line in (ROOT / "docs/migration.md").read_text(encoding="utf-8").splitlines():
        cells = line.strip("|").split(" | ")
        if line.startswith("| ") and len(cells) == 2 and "`" in cells[1]:
            rows.append((line, re.findall(r"`([^`]+)`", cells[1])))
    return rows


def alternatives(code: list[str]) -> list[list[str]]:
    """The words of a row that compose together: a key that it names twice has its values one after the other."""
    values: dict[str, list[str]] = {}
    for word in (word.strip("'") for piece in code for word in piece.split() if "=" in word):
        values.setdefault(word.split("=")[0], []).append(word)
    count = max(map(len, values.values()), default=0)
    return [[words[min(index, len(words) - 1)] for words in values.values()] for index in range(count)]


@pytest.mark.parametrize(("line", "code"), migration_rows(), ids=[line for line, _ in migration_rows()])
def test_every_key_of_the_migration_page_exists(line, code, capsys):
    """Each row's words compose, in the task that they belong to."""
    whole = [piece.replace("=M ", "=swin_tiny ") for piece in code if piece.startswith("visionattn ")]
    for command in whole:
        assert main(composed(command)) == 0, capsys.readouterr().err
    for words in [] if whole else alternatives(code):
        heads = [word for word in words if word.startswith("head=")]
        dense = any(name in word for word in heads for name in ("upernet", "semantic_fpn", "segformer"))
        data = "ade20k" if dense else "coco" if heads else "image_folder"
        base = [] if any(word.startswith("data=") for word in words) else [f"data={data}"]
        assert main(["train", *base, *words, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_most_rows_of_the_migration_page_hold_keys():
    without = [line for line, code in migration_rows() if "=" not in " ".join(code)]
    assert len(without) <= 1, without  # timm's own call
