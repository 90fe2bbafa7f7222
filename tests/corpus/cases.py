"""Cases of the corpus: a tree, what is done to it, the command, and what must come out."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.corpus.trees import TREES, write_json
from visionattn.cli import main

SHORT = [
    *("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu", "trainer.precision=32-true"),
    *("data.num_workers=0", "logger=csv", "callbacks=no_ema", "backbone=dinat_pico", "data.batch_size=2"),
]
SMALL_IMAGES = ["data.train_transform.short_edges=[48]", "data.eval_transform.short_edge=48", "data.image_size=64"]
SMALL_HEAD = ["head.pyramid.channels=16"]
NUMBERED = ["data.source.classes=value", "data.source.class_names={3: cat, 7: dog}"]
ORACLE = "tests.corpus.oracle"
KINDS = {
    "coco": (
        ["data=coco", "head=faster_rcnn", *SMALL_IMAGES, *SMALL_HEAD, "head.regions.width=16"],
        {"box_ap": 100.0},
        f"{ORACLE}.Detection",
    ),
    "yolo": (
        ["data=yolo", "head=faster_rcnn", *SMALL_IMAGES, *SMALL_HEAD, "head.regions.width=16"],
        {"box_ap": 100.0},
        f"{ORACLE}.Detection",
    ),
    "voc": (
        ["data=pascal_voc_detection", "head=faster_rcnn", *SMALL_IMAGES, *SMALL_HEAD, "head.regions.width=16"],
        {"box_ap": 100.0},
        f"{ORACLE}.Detection",
    ),
    "instance_masks": (
        ["data=instance_masks", *NUMBERED, "head=faster_rcnn", *SMALL_IMAGES, *SMALL_HEAD, "head.regions.width=16"],
        {"box_ap": 100.0},
        f"{ORACLE}.Detection",
    ),
    "csv": (
        [
            "data=csv",
            "data.image_size=32",
            "data.source.tables={train: train.csv, val: val.csv}",
            "data.source.images=images",
        ],
        {"top1": 100.0},
        f"{ORACLE}.Classification",
    ),
    "panoptic": (
        ["data=coco_panoptic", "head=mask2former", *SMALL_IMAGES, "head.num_queries=4"],
        {"PQ": 100.0},
        f"{ORACLE}.Panoptic",
    ),
    "image_mask": (
        ["data=image_mask", "head=segformer", "data.image_size=48"],
        {"mIoU": 100.0},
        f"{ORACLE}.Segmentation",
    ),
    "ade20k": (
        ["data=ade20k", "head=segformer", "data.image_size=48"],
        {"mIoU": 100.0},
        f"{ORACLE}.Segmentation",
    ),
    "image_folder": (
        ["data=image_folder", "data.image_size=32"],
        {"top1": 100.0},
        f"{ORACLE}.Classification",
    ),
}

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One line of the corpus.

    Attributes:
        name: for the report.
        kind: the tree and the words of the command.
        change: what is done to the tree, given its folder.
        words: further words of the command.
        code: the exit code; 0: it trains, and a perfect prediction scores 100.
        says: a regular expression for what is said.
        scores: the figures of a perfect prediction, where they are others than 100.
        oracle: another task than the one of the kind.
        heavy: outside the usual suite.
        begun: it fails after its first step, so that its folder stays.
    """

    name: str
    kind: str
    change: Callable[[Path], None]
    words: tuple[str, ...] = ()
    code: int = 0
    says: str = ""
    scores: dict[str, float | None] | None = None
    oracle: str | None = None
    heavy: bool = False
    begun: bool = False

    def run(self, folder: Path, capfd: Any) -> str:
        """Damage a fresh tree, train on it, and compare what came out.

        Returns:
            Everything that was printed.
        """
        root = folder / "tree"
        TREES[self.kind](root)
        self.change(root)
        words, scores, oracle = KINDS[self.kind]
        run = folder / "run"
        task = self.oracle or oracle
        command = ["train", *words, *SHORT, f"data.root={root}", f"hydra.run.dir={run}", *self.words]
        command += ["allow=[tests]", f"task._target_={task}"]
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            code = main(command)
        printed = "".join(capfd.readouterr())
        check_said(printed, code, self.code, self.says)
        if code == 0:
            results = json.loads((run / "results.json").read_text())
            check_scores(results["results"], self.scores or scores)
        else:
            assert self.begun == run.exists(), "a failed command left a folder, or a training that had begun left none"
        return printed


def adding(cases: list[Case], kind: str) -> Callable[..., Callable[[Change], Change]]:
    """A decorator, called as ``tree(code, says, **fields of Case)``, that adds a case of a kind by its change."""

    def tree(code: int = 0, says: str = "", kind: str = kind, **options: Any) -> Callable[[Change], Change]:
        def add(change: Change) -> Change:
            cases.append(Case(change.__name__, kind, change, code=code, says=says, **options))
            return change

        return add

    return tree


def check_said(printed: str, code: int, expected: int, says: str) -> None:
    """No traceback, the exit code, one sentence where it failed, and the words that must be there."""
    assert "Traceback" not in printed, printed
    assert code == expected or (expected and code in (1, 2)), printed  # a mistake of the command, or of the data
    plain = " ".join(printed.split())
    assert re.search(says, plain), f"{says!r} is not in: {plain}"
    if code:
        sentences = [line for line in printed.splitlines() if line.startswith("visionattn: ") and "warm-up" not in line]
        assert len(sentences) == 1, printed
        assert len(sentences[0]) < 700, sentences[0]


def check_scores(results: dict[str, Any], expected: dict[str, float | None]) -> None:
    """The figures of the last epoch."""
    for name, value in expected.items():
        assert results.get(f"val/{name}") == value, (name, results)


def in_json(
    folder: Path, change: Callable[[dict[str, Any]], None], pattern: str = "annotations/instances_*.json"
) -> None:
    """Apply a change to the files of all splits."""
    paths = sorted(folder.glob(pattern))
    assert paths
    for path in paths:
        content = json.loads(path.read_text())
        change(content)
        write_json(path, content)
