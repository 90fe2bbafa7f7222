"""``visionattn.train``: the command from Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionattn.api.loading import load
from visionattn.api.model import Model
from visionattn.cli.arguments import parse
from visionattn.cli.launch.run import run_alone
from visionattn.config.composing import as_override
from visionattn.errors import ConfigError
from visionattn.runs.folder import REPORT
from visionattn.weights import checkpoint_file


@dataclass(frozen=True)
class Training:
    """A training that has come to its end.

    Attributes:
        folder: of the run: configuration, checkpoints, curves, report.
        figures: of the final table, such as ``val/top1``; empty for a dry run.
        command: that trains the same from a terminal.
    """

    folder: Path
    figures: dict[str, Any] = field(repr=False)
    command: str = field(repr=False)

    @property
    def report(self) -> Path:
        """The page with curves, pictures and tables, ``report.html``."""
        return self.folder / REPORT

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint."""
        return checkpoint_file(self.folder)

    def load(self, device: str | None = None, allow: Sequence[str] = ()) -> Model:
        """Load the model of the best checkpoint; arguments as of :func:`visionattn.load`."""
        return load(self.folder, device=device, allow=allow)


def train(
    backbone: str | None = None,
    data: str | Path | None = None,
    task: str | None = None,
    *,
    root: str | Path | None = None,
    epochs: int | None = None,
    weights: str | Path | None = None,
    mixers: str | Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    folder: str | Path | None = None,
    dry_run: bool = False,
    allow: Sequence[str] = (),
    **choices: Any,
) -> Training:
    """Train as ``visionattn train`` does, with the same recipes, figures and files.

    Args:
        backbone: its name.
        data: a folder of your own, whose layout is recognized; or the kind of data, such as ``coco``, ``image_folder``
            or ``digits``, which ``visionattn list data`` names.
        task: ``classification``, ``detection``, ``segmentation`` or ``panoptic``; None: that of the data.
        root: the folder of a kind of data (``data.root``).
        epochs: how many; None: the recipe's.
        weights: to start from: ``timm``, a file, a folder, ``hf-hub:owner/name``; None: published ones for a folder of
            your own where they can be had, else nothing, which is told.
        mixers: another attention: ``"neighborhood"`` for all stages, or ``{"s3": "neighborhood"}``.
        overrides: any other key: ``{"optim.lr": 1e-3, "data.batch_size": 64}``, or in the words of the command line.
        folder: of the run; None: a new one below ``outputs``.
        dry_run: stop before the first step, when everything has been built and checked.
        allow: your own packages that the configuration may name.
        **choices: other groups and keys without a dot: ``head="mask_rcnn"``, ``experiment="..."``, ``seed=1``.

    Raises:
        ConfigError: an unknown name or key, with the nearest one; or more than one process, which a command starts.
        VisionAttnError: what stops the command too: data, checkpoints, a loss that is not finite.
    """
    given = {"backbone": backbone, "data": data, "task": task, **choices, "data.root": root}
    given |= {"trainer.max_epochs": epochs, "weights": weights, "hydra.run.dir": folder}
    return _run([*_words(given, mixers), *_typed(overrides)], dry_run, allow)


def _words(given: Mapping[str, Any], mixers: str | Mapping[str, str] | None) -> list[str]:
    """What is given in the words of the command line."""
    chosen = {"": mixers} if isinstance(mixers, str) else mixers or {}
    words = [as_override(key, value) for key, value in given.items() if value is not None]
    return words + [f"backbone.mixers.{stage}={name}" if stage else f"mixer={name}" for stage, name in chosen.items()]


def _typed(overrides: Mapping[str, Any] | Sequence[str]) -> Sequence[str]:
    if isinstance(overrides, str):
        raise ConfigError(f"overrides is a mapping or a list of words, got the text {overrides!r}")
    return [as_override(*item) for item in overrides.items()] if isinstance(overrides, Mapping) else overrides


def _run(words: Sequence[str], dry_run: bool, allow: Sequence[str]) -> Training:
    arguments = ["train", *words, *(["--dry-run"] if dry_run else [])]
    arguments += [f"allow=[{','.join(allow)}]"] if allow else []
    typed = shlex.join(["visionattn", *arguments])
    done, figures = run_alone(parse(arguments, typed))
    return Training(done, dict(figures or {}), typed)
