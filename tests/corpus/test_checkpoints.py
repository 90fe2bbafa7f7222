"""Damaged checkpoints and folders, opened by every command that opens one: one sentence, and nothing is left behind."""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.corpus.cases import check_said
from visionattn.cli import main

HEAVY = pytest.mark.heavy
CASES: list[tuple[str, Callable[[Path], None], str]] = []


def damage(says: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Add a way to damage a checkpoint file, and what must be said."""

    def add(change: Callable[[Path], None]) -> Callable[[Path], None]:
        CASES.append((change.__name__, change, says))
        return change

    return add


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Load a checkpoint, change its contents, and write it again."""
    contents = torch.load(path, weights_only=True)
    changed = change(contents)
    torch.save(contents if changed is None else changed, path)


@damage("best.ckpt")
def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@damage("(?i)best.ckpt.*(empty|0 bytes)")
def empty(path: Path) -> None:
    path.write_bytes(b"")


@damage("(?i)git.?lfs")
def pointer_of_git_lfs(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9000\n")


@damage("best.ckpt")
def page_of_a_server(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")


@damage("best.ckpt")
def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": {"a": [1.0]}}))


@damage("(?i)best.ckpt.*(config|visionattn train|mmdet|openmmlab)")
def of_another_project(path: Path) -> None:
    torch.save({"meta": {"mmdet_version": "3.0.0"}, "state_dict": {"backbone.conv1.weight": torch.ones(2)}}, path)


@damage("(?i)best.ckpt.*(config|visionattn train)")
def weights_alone(path: Path) -> None:
    rewrite(path, lambda contents: contents["state_dict"])


@damage("(?i)best.ckpt.*(config|visionattn train)")
def without_a_config(path: Path) -> None:
    def change(contents: dict[str, Any]) -> None:
        del contents["config"]

    rewrite(path, change)


@damage("entry of .* does not fit the model of its config")
def a_tensor_is_missing(path: Path) -> None:
    def change(contents: dict[str, Any]) -> None:
        del contents["state_dict"][sorted(contents["state_dict"])[0]]

    rewrite(path, change)


@damage("entry of .* does not fit the model of its config")
def a_tensor_of_another_shape(path: Path) -> None:
    def change(contents: dict[str, Any]) -> None:
        name = next(name for name, value in contents["state_dict"].items() if value.ndim == 2)
        contents["state_dict"][name] = torch.zeros(3, 3)

    rewrite(path, change)


@damage("(?i)(finite|nan)")
def weights_not_numbers(path: Path) -> None:
    def change(contents: dict[str, Any]) -> None:
        for value in contents["state_dict"].values():
            if value.is_floating_point():
                value.fill_(float("nan"))

    rewrite(path, change)


@damage("(?i)config")
def a_config_that_is_no_text(path: Path) -> None:
    rewrite(path, lambda contents: contents.update(config=[1, 2]))


@damage("(?i)config")
def a_config_that_is_no_yaml(path: Path) -> None:
    rewrite(path, lambda contents: contents.update(config="a: [b"))


@damage("(?i)os.system")
def a_config_that_attacks(path: Path) -> None:
    rewrite(path, lambda contents: contents.update(config="task: {_target_: os.system, command: 'touch x'}"))


@damage("best.ckpt")
def a_list(path: Path) -> None:
    torch.save([1, 2, 3], path)


COMMANDS = {
    "evaluate": ["evaluate", "ckpt={ckpt}", "trainer.accelerator=cpu"],
    "predict": ["predict", "ckpt={ckpt}", "source={image}"],
    "export": ["export", "ckpt={ckpt}", "dir={folder}/exported"],
}


def _parameters() -> list[object]:
    """Every checkpoint with every command; in the suite with one of them, the others are heavy."""
    return [
        pytest.param(name, change, says, id=f"{case}-{name}", marks=() if number % len(COMMANDS) == at else HEAVY)
        for number, (case, change, says) in enumerate(CASES)
        for at, name in enumerate(COMMANDS)
    ]


@pytest.mark.parametrize(("command", "change", "says"), _parameters())
def test_a_damaged_checkpoint(command, change, says, trained, tmp_path, capfd):
    run, work = tmp_path / "run", tmp_path / "work"
    work.mkdir()
    shutil.copytree(trained, run)
    (run / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
    path = run / "checkpoints" / "best.ckpt"
    change(path)
    Image.new("RGB", (32, 32)).save(tmp_path / "image.png")
    words = [word.format(ckpt=path, image=tmp_path / "image.png", folder=work) for word in COMMANDS[command]]
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("default")
        patch.chdir(work)
        code = main(words)
    check_said("".join(capfd.readouterr()), code, 1, says)
    assert not list(work.iterdir()), "something was left behind"
