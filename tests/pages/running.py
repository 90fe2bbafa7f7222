"""A command of a page as a test runs it: with small data, short, and with files in place of what only a reader has."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.pages.lines import ROOT, commands, own_files
from tests.pages.place import FEW, SHORT, photos, served
from visionattn.cli import main

NOT_RUN = {
    r"evaluate backbone=timm": "timm's own weights need a network; tests/commands/test_timm_networks.py scores a file",
    r"device=cuda": "needs a GPU",
    r"push_to_hub": "needs the Hub and a token",
    r"backbone\.pretrained=true": "needs the Hub",
    r"hydra/(launcher|sweeper)=": "needs a plugin of Hydra that nothing else needs",
    r"task\.compile=": "compiles for minutes; tests/training/test_compile.py compiles small models",
    r"--port": "serves until it is stopped; tests/examples/test_serve_onnx.py asks it",
}
"""Parts of commands that are composed only, and why."""
DRY = {
    r"trainer=ddp": "needs several devices; tests/commands/test_processes.py trains on two processes",
    r"backbone=timm": "the network without its weights; tests/backbones trains such networks",
    r"experiment=league": "half an hour",
}
"""Parts of commands that run as ``--dry-run`` in one process, and why."""
SLOW = {
    r"format=(onnx|torch_export|aot_inductor)|serve_onnx": "traces a model",
    r"benchmark (detection|segmentation|lengths)|onnxruntime": "measures for a minute",
    r"compare '?(backbones=|heads=|mixers=\[window,full)": "trains two models more, as the first comparison does",
    r"against=\[plain|experiment=league": "builds and measures models for a quarter of a minute",
    r"inspect backbone": "all attention of a model for images of 224 pixels",
    r"weights_part=model trainer|ckpt=published": "a model of 60 million parameters on images of 512 pixels",
}
"""Parts of commands that `make heavy` runs, and why; every other command runs in `make docs`."""
ROWS = "output_dir=rows"
BUDGET = {
    "train": SHORT,
    "compare": [
        *(word for word in SHORT if "max_epochs" not in word),
        *("trainer.max_epochs=1", "seeds=[0]", "measure=0"),
    ],
    "evaluate": ["trainer.accelerator=cpu"],
    "export": ["overwrite=true"],  # pages write the same format twice
    "benchmark kernels": ["cases=swin_tiny.s4", "repeats=1", ROWS],
    "benchmark backbones": ["repeats=1", "batches=[1]", "dtypes=[float32]", "passes=[inference]", ROWS],
    "benchmark pixels": ["repeats=1", "sizes=[64,96]", ROWS],
    "benchmark lengths": ["repeats=1", "sides=[7,14]", "mixers=[window,pooling]", ROWS],
    "benchmark segmentation": ["repeats=1", "crop=64", "stride=48", "size=[64,80]", ROWS],
    "benchmark detection": ["repeats=1", "size=[96,128]", "images=50", "per_image=3", ROWS],
}
"""Keys that make a command short, by its first words."""
EXPERIMENTS = {"finetune/detection": "coco", "finetune": "image_folder", "coco": "coco", "ade20k": "ade20k"}
EXPERIMENTS |= {"imagenet": "imagenet"}
"""The data of experiments."""
FOLDERS = {"imagenet_v2": "imagenetv2", "voc": "pascal_voc_detection", "labelme_masks": "labelme"}
"""Sets whose folder has another name than ``data=``."""


def matches(line: str, parts: dict[str, str]) -> bool:
    return any(re.search(part, line) for part in parts)


def with_slow(pages: Iterable[str]) -> list[str]:
    """The pages among these that show slow commands."""
    return [page for page in pages if any(matches(line, SLOW) for line in commands(page))]


def data_of(given: list[str]) -> str:
    """The data set that a command names, itself or by its experiment."""
    named = dict(word.split("=", 1) for word in given if "=" in word)
    experiment = named.get("experiment", "")
    known = EXPERIMENTS.get(experiment, EXPERIMENTS.get(experiment.partition("/")[0], ""))
    return named.get("data", named.get("from", known))


def set_of(line: str, given: list[str]) -> str:
    """The folder that stands for the command's data."""
    if "split_column" in line:
        return "csv_of_folds"
    if "source.tables" in line:
        return "csv_of_splits"
    return FOLDERS.get(data_of(given), data_of(given))


def written(line: str) -> str:
    """A folder of its own for every command that writes into the page's ``out``."""
    parts = re.findall(r"(?:format|quantize|options\.part|data|from|to)=(\w+)", line)
    return "_".join(["out", *parts])


def stand_ins(line: str, task: str, place: Path, port: int) -> list[str]:
    """The words of a command with what is there in place of what the page leaves to its reader."""
    weights = place / "swin_tiny.safetensors"
    tuned = f"experiment=finetune/classification data.root={place / 'sets/image_folder'}"
    given = shlex.split(line.replace("experiment=... weights=timm", f"{tuned} weights=timm"))
    given = [word for word in given if word not in ("...", "experiment=...")]
    run = place / "runs" / ("imagenet" if "data=imagenet" in line else task)
    start = place / f"runs/published_{task}/checkpoints/last.ckpt" if "weights_part=model trainer" in line else weights
    past = r"outputs/classification/swin_pico/\S*"
    changes = [
        (r"^ckpt=(RUN|\.\.\.|.*\.\.\./.*|outputs/.*|runs/.*)$", f"ckpt={run}"),
        (r"^ckpt=PATH$", f"ckpt={run / 'checkpoints/last.ckpt'}"),
        (r"^(data\.)?root=/data/", rf"\1root={place / 'sets'}/"),
        (r"^(data\.)?root=(DIR|/path/.*|photos)$", rf"\1root={place / 'sets' / set_of(line, given)}"),
        (r"^data=my_folder$", f"data={place / 'sets/image_folder'}"),
        (r"^weights=(timm|FILE)$", f"weights={start}"),
        (r"^weights=\.\.\.$", f"weights={place / 'runs/digits'}"),
        (r"^dir=(OUT|out)$", f"dir={written(line)}"),
        (r"^out/model.onnx$", "out_onnx/model.onnx"),
        (r"^num_train=\d+$", "num_train=128"),
        (r"^num_val=\d+$", "num_val=16"),
        (r"localhost:8000", f"127.0.0.1:{port}"),
        (rf"^{past}12-00-00$", str(place / "runs/classification")),
        (rf"^{past}13-00-00$", str(place / "runs/again")),
    ]
    for pattern, replacement in changes:
        given = [re.sub(pattern, replacement, word) for word in given]
    named = "experiment=finetune" in line and "weights=" not in line  # their files say weights=timm
    return [*given, f"weights={weights}"] if named else given


def shortened(given: list[str]) -> list[str]:
    """The command with a small budget."""
    if "--dry-run" in given or (given[1] in ("compare", "benchmark") and "/runs/" in " ".join(given)):
        return given
    begin = " ".join(given[1:3])
    more = next((keys for words, keys in BUDGET.items() if begin.startswith(words)), [])
    if "trainer.max_epochs=0" in given:
        more = [word for word in more if not word.startswith("trainer.max_epochs")]
    if given[1] in ("train", "compare") and data_of(given) not in ("", "csv", "digits"):
        more = [*more, *FEW]
    if given[1] == "evaluate" and "/sets/imagenet" in " ".join(given):
        more = [*more, "data.image_size=32"]
    return [*given, *more]


def composed(given: list[str]) -> list[str]:
    """The command up to its configuration, without plugins of Hydra: nothing is built."""
    plugin = any(word.startswith("hydra/") for word in given)
    kept = [word for word in given if word not in ("-m", "--dry-run")]
    if plugin:
        kept = [word for word in kept if "hydra" not in word and "(" not in word]
    return [*(word.split(",")[0] if "-m" in given else word for word in kept), "--cfg", "job"]


def as_tested(line: str, task: str, place: Path, port: int) -> list[str]:
    """The words that are run for a line of a page."""
    given = stand_ins(line, task, place, port)
    if matches(line, NOT_RUN):
        return composed(given) if given[0] == "visionattn" else []
    if matches(line, DRY):
        one = ["trainer.devices=1", "trainer.num_nodes=1", "trainer.accelerator=cpu"] if given[1] == "train" else []
        return [*(word for word in given if word != "--dry-run"), *one, "--dry-run"]
    return shortened(given) if given[0] == "visionattn" else given


def execute(given: list[str], patch: pytest.MonkeyPatch) -> int:
    """Run it in this process."""
    if given and given[0] == "python":
        patch.setattr(sys, "argv", given[1:])
        runpy.run_path(str(ROOT / given[1]), run_name="__main__")
    return main(given[1:]) if given and given[0] == "visionattn" else 0


def run_page(page: str, task: str, place: Path, folder: Path, capsys: pytest.CaptureFixture[str], slow: bool) -> None:
    """Run the commands of a page in its order, in a folder of its own; the slow ones with what comes before them."""
    photos(folder)
    own_files(page, folder)
    failed = []
    lines = commands(page)
    if slow:
        lines = [line for line in lines if matches(line, SLOW)]
    with pytest.MonkeyPatch.context() as patch, served(folder) as port:
        patch.chdir(folder)
        for line in lines:
            if not slow and matches(line, SLOW):
                continue
            given = as_tested(line, task, place, port)
            if execute(given, patch) != 0:
                failed.append(f"{line}\n  {shlex.join(given)}\n{capsys.readouterr().err[-2000:]}")
    assert not failed, "\n".join(failed)
