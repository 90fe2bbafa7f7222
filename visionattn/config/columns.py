"""What belongs together: the task that data, a head or a task class are for, read from the names of their targets.

Nothing is imported for that. A target of the user's own belongs to no known task, and is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from visionattn.config.catalog import choices, with_parts
from visionattn.config.renames import renamed
from visionattn.errors import ConfigError

TASKS = ("classification", "detection", "segmentation", "panoptic")
PREFIXES = {
    "task": {f"visionattn.tasks.{name.capitalize()}Task": name for name in TASKS},
    "data": {f"visionattn.data.{name.capitalize()}Data": name for name in TASKS},
    "head": {"visionattn.heads.ClassificationHead": "classification"}
    | {f"visionattn.heads.{name}.": name for name in TASKS},
}
"""Group -> how the targets begin that are for a task."""
FITTING_DATA = {name: (name,) for name in TASKS} | {"panoptic": ("panoptic", "detection")}
"""Task -> tasks whose data it can be trained on; every object of detection's data is a thing."""


def column_of(group: str, target: Any) -> str | None:
    """The task that a ``_target_`` of a group is for; None: not one of ours.

    Args:
        group: ``task``, ``data`` or ``head``.
        target: the dotted name.
    """
    name = renamed(str(target))
    return next((task for prefix, task in PREFIXES[group].items() if _begins(name, prefix)), None)


def _begins(name: str, prefix: str) -> bool:
    return name.startswith(prefix) if prefix.endswith(".") else name == prefix


def names_for(group: str, task: str) -> list[str]:
    """The package's choices of a group that are for a task."""
    return list(_names_for(group, task))


def _names_for(group: str, task: str) -> Iterator[str]:
    for name in choices(group):
        if column_of(group, _target(group, name)) == task:
            yield name


def _target(group: str, name: str) -> Any:
    """The ``_target_`` of a file; that of the one it inherits where it names none."""
    contents = with_parts(group, name)
    parents = [entry for entry in contents["defaults"] if isinstance(entry, str) and entry != "_self_"]
    return contents.get("_target_") or next((_target(group, parent) for parent in parents), None)


def check_fit(cfg: Any, names: Mapping[str, Any] | None = None) -> None:
    """Make sure that task, data and head of a training belong together.

    Args:
        cfg: composed ``train.yaml``, unresolved or not.
        names: group -> choice, for the message; classes are named where it is not known.

    Raises:
        ConfigError: they do not; names the two that contradict each other, and what fits.
    """
    targets = {group: (cfg.get(group) or {}).get("_target_") for group in PREFIXES}
    shown = {group: (names or {}).get(group) or str(target).rpartition(".")[2] for group, target in targets.items()}
    task, head, data = (column_of(group, targets[group]) for group in ("task", "head", "data"))
    if task is None:
        return
    if head is not None and head != task:
        raise ConfigError(
            f"head={shown['head']} is for task={head}, not for task={shown['task']}; "
            f"heads for {task}: {', '.join(names_for('head', task))}"
        )
    if data is not None and data not in FITTING_DATA[task]:
        raise ConfigError(
            f"data={shown['data']} is for task={data}, not for task={shown['task']}; "
            f"data for {task}: {', '.join(names_for('data', task))} (data=NAME data.root=DIR)"
        )
    if data is not None and data != task and cfg.task.get("panoptic", True):
        raise ConfigError(
            f"data={shown['data']} has objects but no panoptic maps; to train task={shown['task']} on its objects "
            "alone, add task.panoptic=false task.instance=true"
        )
