"""The contents of ``result.json``: the figures of an evaluation, and everything that they depend on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionattn.errors import DataError
from visionattn.runs import provenance
from visionattn.runs.build import Run
from visionattn.runs.protocol import Differences

_NAMED = 5  # ids in a message


def protocol_in_use(evaluation: Run) -> dict[str, Any]:
    """How the data make evaluation images, and what the task does with them."""
    return evaluation.data.describe_evaluation() | evaluation.task.protocol()


def result_of(
    cfg: DictConfig, evaluation: Run, checkpoint: Mapping[str, str], differing: Differences, classes: str, command: str
) -> dict[str, Any]:
    """What an evaluation that has run gave. A figure that is not finite is None, and a note says which.

    Args:
        cfg: of ``evaluate``.
        evaluation: after its validation.
        checkpoint: where the weights come from.
        differing: what was done in another way than in the training.
        classes: how the classes of model and data belong together.
        command: as typed.

    Raises:
        DataError: a sample was evaluated more than once; names them.
    """
    ids, data = evaluation.observer.ids, evaluation.data
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        listed = ", ".join(repeated[:_NAMED]) + (", ..." if len(repeated) > _NAMED else "")
        raise DataError(f"{len(repeated)} sample ids were evaluated more than once: {listed}")
    records: Any = data.records(data.evaluation_split)
    logged = {name.removeprefix("val/"): float(value) for name, value in evaluation.trainer.callback_metrics.items()}
    metrics, notes = finite(logged | evaluation.observer.figures(data))
    return {
        "metrics": metrics,
        "notes": notes,
        "split": data.evaluation_split,
        "num_samples": len(ids),
        "num_published": getattr(records, "num_published", None),
        "classes": len(getattr(records, "class_subset", None) or range(data.num_classes)),
        "class_names": classes,
        "ids_sha256": provenance.hash_ids(ids),
        "unreadable": data.budget(data.evaluation_split).as_dict(),
        "protocol": protocol_in_use(evaluation),
        "not_as_in_training": {key: {"training": one, "evaluation": used} for key, (one, used) in differing.items()},
        "checkpoint": dict(checkpoint),
        "data": OmegaConf.to_container(evaluation.data_config.source, resolve=True),
        "precision": str(cfg.trainer.precision),
        "processes": evaluation.trainer.world_size,
        "images_per_second": evaluation.stopwatch.rate("val"),
        "command": command,
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
    }


def finite(figures: Mapping[str, float]) -> tuple[dict[str, float | None], list[str]]:
    """The figures with None for what JSON has no word for, and a sentence for each of those."""
    broken = {name: value for name, value in figures.items() if not math.isfinite(value)}
    notes = [f"{name} is {'not a number' if math.isnan(value) else 'infinite'}" for name, value in broken.items()]
    return {name: None if name in broken else value for name, value in figures.items()}, notes
