"""What the README shows works as it stands there, and the first part of docs/extend.md, a mixer of one's own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from visionattn.cli import main
from visionattn.config.catalog import choices

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXTEND = (ROOT / "docs/extend.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_the_python_example_runs():
    example = blocks("python")[0]
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_mixer_of_your_own_trains(tmp_path, monkeypatch, capsys):
    for text in [blocks("python", EXTEND)[0], blocks("yaml", EXTEND)[0]]:
        path = tmp_path / re.match(r"# (\S+)", text).group(1)  # type: ignore[union-attr]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    command = shlex.split(blocks("", EXTEND)[0].splitlines()[0])
    assert command[0] == "visionattn"  # the installed command: the current folder is not on Python's path
    process = [str(Path(sys.executable).with_name("visionattn")), *command[1:], "--dry-run", "trainer.accelerator=cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(process, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "my_package is imported from the current folder" in done.stdout
    monkeypatch.chdir(tmp_path)
    assert main([word for word in command[1:] if "allow" not in word] + ["--dry-run"]) == 2
    assert "allow=[my_package]" in capsys.readouterr().err


LINES = [
    line.split("#")[0].split()[1:] for block in blocks("") for line in block.splitlines() if line.startswith("vision")
]


@pytest.mark.parametrize("words", [words for words in LINES if "--config-dir" not in words], ids=" ".join)
def test_every_command_line_composes(words, capsys, tmp_path, monkeypatch):
    for label in ("cat", "dog"):  # the README's my_folder
        (tmp_path / "my_folder" / label).mkdir(parents=True)
        (tmp_path / "my_folder" / label / "0.jpg").touch()
    monkeypatch.chdir(tmp_path)
    arguments = [word.strip("'") for word in words if word != "--dry-run"]
    arguments = [word.split(",")[0] if "-m" in words else word for word in arguments if word != "-m"]
    composed = arguments if words[0] == "list" else [*arguments, "--cfg", "job"]
    assert main(composed) == 0, capsys.readouterr().err


def test_the_readme_is_short_and_counts_the_mixers_that_there_are():
    assert README.count("\n") < 150
    count = sum("/" not in name for name in choices("mixer"))
    tens = {40: "forty", 50: "fifty", 60: "sixty", 70: "seventy"}[count // 10 * 10]
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert f"more than {tens} mixers" in README
    assert f"more than {tens} mixers" in " ".join(index.split())


def test_linked_files_exist():
    for target in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / target).is_file(), target
