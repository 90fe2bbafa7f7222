"""The choices that a training gets where nobody made one: the task that the data are for, its head, its recipe.

A recipe (``conf/recipe``) holds the values of a task's training: optimizer, rate, schedule, augmentation, averaging.
Three rules decide about it:

- Without ``recipe=NAME``, on the command line or in an experiment, the task has one, ``NAME_finetune`` where weights
  are given. An experiment whose file says ``override /recipe: own`` states all values itself.
- Whatever an experiment or the command line says goes before the recipe.
- A recipe only says what concerns the chosen parts: its ``optim`` is for the optimizer that it names, and it sets no
  key that the chosen data, callbacks or schedule do not have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from visionattn.config.columns import FITTING_DATA, TASKS, column_of

OWN = "own"
"""The recipe of experiments that state all values themselves."""
OF_DATA = {"digits": "digits", "shapes": "digits"}
"""Data of small images with a recipe of their own."""
HEADS = {"classification": "classification", "detection": "rcnn", "segmentation": "upernet", "panoptic": "mask2former"}
"""Task -> the head that it gets where none is chosen."""


@dataclass(frozen=True)
class Chosen:
    """What a composition has chosen so far.

    Attributes:
        choices: group -> name of its file.
        given: groups that the command line or an experiment names.
        targets: ``task``, ``data``, ``head`` -> the class that is built.
        weights: the value of the key ``weights``.
    """

    choices: Mapping[str, str | None]
    given: Collection[str] = ()
    targets: Mapping[str, Any] = field(default_factory=dict)
    weights: Any = None


def settle(chosen: Chosen) -> dict[str, str]:
    """Group -> the choice that nobody made: of ``task``, ``head`` and ``recipe``.

    Where an experiment states all values itself (``own``), nothing is added. Choices that contradict each other are
    left for :func:`visionattn.config.columns.check_fit`.
    """
    if chosen.choices.get("recipe") == OWN:
        return {}
    added: dict[str, str] = {}
    columns = {group: column_of(group, chosen.targets.get(group)) for group in ("task", "data", "head")}
    wanted = _task(chosen, columns)
    if wanted is not None:
        added["task"] = wanted
    task = wanted or columns["task"]
    if task is not None and "head" not in chosen.given and columns["head"] in TASKS and columns["head"] != task:
        added["head"] = HEADS[task]
    if not chosen.choices.get("recipe") and task is not None:
        added["recipe"] = _recipe(chosen, task, columns["data"])
    return added


def _task(chosen: Chosen, columns: Mapping[str, str | None]) -> str | None:
    """The task of the data, else of the head, where none is named; None: the composed one stays."""
    if "task" in chosen.given:
        return None
    data, head = (columns[group] if group in chosen.given else None for group in ("data", "head"))
    wanted = data or head
    if head is not None and data is not None and data in FITTING_DATA.get(head, ()):
        wanted = head  # queries for panoptic maps also learn objects
    return wanted if wanted != columns["task"] else None


def _recipe(chosen: Chosen, task: str, data: str | None) -> str:
    if data == task and (own := OF_DATA.get(str(chosen.choices.get("data")))):
        return own
    return task if chosen.weights is None else f"{task}_finetune"
