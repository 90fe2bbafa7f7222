"""Every command of the user guide does what it says, in the guide's order."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.pages.place import weights
from visionattn.cli import main

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line for language, text in FENCED if not language for line in text.splitlines() if line.startswith("visionattn ")
]
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu", "data.batch_size=16"]
WEIGHTS = "swin_tiny.safetensors"
ELSEWHERE = ("-m", "trainer=ddp")  # more than one training, or processes: they are composed, and tested on their own
pytestmark = [pytest.mark.docs, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One folder in which all commands run, with the files that the guide shows."""
    folder = tmp_path_factory.mktemp("guide")
    for language, text in FENCED:
        if language in ("python", "yaml") and text.startswith("# my_"):
            path = folder / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for split in ("train", "val"):  # as many classes as ImageNet; a dry run reads no image
        for label in range(1000):
            path = folder / "imagenet" / split / f"n{label:08}" / "image.jpg"
            path.parent.mkdir(parents=True)
            path.touch()
    weights(folder / WEIGHTS)
    return folder


def words(command):
    return shlex.split(command, comments=True)[1:]


def run_as_installed(given, place):
    """Run a command by the installed entry point, in a process of its own, and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # the package itself; the current folder is not on the path
    process = [str(Path(sys.executable).with_name("visionattn")), *given]
    done = subprocess.run(process, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.heavy
@pytest.mark.parametrize("command", [line for line in COMMANDS if set(ELSEWHERE) & set(words(line))])
def test_a_sweep_or_several_processes_of_the_guide_train(command, place):
    given = [word.replace("/data/imagenet", str(place / "imagenet")) for word in words(command)]
    if "--dry-run" not in given:
        run_as_installed([*given, *SHORT], place)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide(command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    given = words(command)
    if any(word in given for word in ELSEWHERE) and "--dry-run" not in given:
        given = [word.split(",")[0] for word in given if word != "-m"]
        given += ["--cfg", "job"]
    elif given[0] == "train" and not {"--dry-run", "--cfg"} & set(given):
        given += SHORT
    given = [word.replace("/data/imagenet", str(place / "imagenet")) for word in given]
    given = [word.replace("weights=timm", f"weights={WEIGHTS}") for word in given]  # tests have no network
    if "--dry-run" in given and given[0] == "train":
        given += ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=1"]
    if "format=onnx" in given:  # tests/export/test_graphs.py writes one
        given += ["--dry-run"]
    if given[0] == "evaluate":
        given += ["trainer.accelerator=cpu"]
    if any(word.startswith("allow=") for word in given):  # as a user's shell runs it
        run_as_installed(given, place)
    else:
        assert main(given) == 0, capsys.readouterr().err
    for word in given:
        if word.startswith("hydra.run.dir=") and "--cfg" not in given:
            assert (place / word.partition("=")[2] / "checkpoints" / "last.ckpt").is_file()


def test_the_mixer_of_the_guide_is_short_and_sees_rows_and_columns(place, monkeypatch):
    monkeypatch.syspath_prepend(str(place))
    from my_package.axial import AxialAttention

    assert (place / "my_package" / "axial.py").read_text().count("\n") <= 40
    x = torch.randn(1, 5, 6, 8, requires_grad=True)
    for index, seen in (
        (0, x.new_zeros(5, 6).index_fill(0, torch.tensor(2), 1)),
        (1, x.new_zeros(5, 6).index_fill(1, torch.tensor(3), 1)),
    ):
        y = AxialAttention(8, 2, index)(x)
        assert y.shape == x.shape
        (gradient,) = torch.autograd.grad(y[0, 2, 3].sum(), x)
        assert torch.equal((gradient[0].abs().sum(-1) > 0).float(), seen)


def test_linked_files_exist():
    for target in re.findall(r"\]\(([\w/.]+)\)", GUIDE):
        assert (ROOT / "docs" / target).is_file(), target
