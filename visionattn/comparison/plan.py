"""The plan of a comparison, kept in its folder: what was asked, and what every entry trains.

Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from visionattn.errors import ConfigError
from visionattn.files import write_whole
from visionattn.runs.folder import OUTCOME

PLAN = "plan.json"
REFERENCE = "reference.yaml"
"""The configuration of the reference, whose first weights the other entries share."""


@dataclass(frozen=True)
class Planned:
    """An entry as it is trained.

    Attributes:
        name: of the entry.
        folder: its folder in that of the comparison.
        words: its own overrides, what was changed to match it among them.
        changed: what was changed, in words; empty: nothing.
        deviation: how far what was matched is from the reference, as a part of it; None: nothing was matched.
        params: parameters of backbone and head.
        gmacs: multiply-adds of an image, in units of 1e9.
        shared: parameters of the name and shape of the reference's, which start with the same values.
    """

    name: str
    folder: str
    words: tuple[str, ...]
    changed: str
    deviation: float | None
    params: int
    gmacs: float
    shared: int


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        asked: what identifies it: overrides of train, entries, seeds, what is matched and how.
        entries: the reference first.
        seeds: of the trainings of each entry.
        train: overrides that all trainings share, inferred values among them.
        metric: name of the figure that is compared, as in the results of a training.
        mode: ``max`` or ``min``.
        about: facts for the report: task, backbone, data.
        command: as it was typed.
    """

    asked: Mapping[str, Any]
    entries: tuple[Planned, ...]
    seeds: tuple[int, ...]
    train: tuple[str, ...]
    metric: str
    mode: str
    about: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def reference(self) -> Planned:
        """The entry that the others are compared with."""
        return self.entries[0]

    def jobs(self) -> Iterator[tuple[Planned, int]]:
        """Entry and seed of every training, all entries of a seed before the next seed."""
        for seed in self.seeds:
            for entry in self.entries:
                yield entry, seed

    def words(self, entry: Planned, seed: int, folder: Path) -> list[str]:
        """Overrides of one training."""
        from visionattn.config.composing import quoted

        own = merged(self.train, entry.words)
        start = [f"start_as={quoted(str(folder / REFERENCE))}"] if entry is not self.reference and entry.shared else []
        place = quoted(f"{entry.folder}/{seed_folder(seed)}")  # an entry's name may hold a "="
        return [*own, f"seed={seed}", *start, "resume=auto", f"hydra.sweep.subdir={place}"]

    def write(self, folder: Path) -> None:
        """Write the plan into the folder of the comparison."""
        write_whole(folder / PLAN, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of a folder.

        Raises:
            ConfigError: it cannot be read.
        """
        try:
            values = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            entries = tuple(Planned(**{**one, "words": tuple(one["words"])}) for one in values.pop("entries"))
            return cls(
                **{**values, "entries": entries, "seeds": tuple(values["seeds"]), "train": tuple(values["train"])}
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"the plan of a comparison in {folder / PLAN} cannot be read: {error}") from error


def seed_folder(seed: int) -> str:
    """Folder of a training in that of its entry."""
    return f"seed_{seed}"


def merged(words: Sequence[str], later: Sequence[str]) -> list[str]:
    """Overrides, those of ``later`` in place of earlier ones of the same key."""
    keys = {_key(word) for word in later}
    return [*(word for word in words if _key(word) not in keys), *later]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def is_done(folder: Path) -> bool:
    """Whether the training of a folder has come to its end."""
    outcome = read_outcome(folder)
    return bool(outcome and outcome.get("results") and not outcome["error"] and not _unfinished(outcome["results"]))


def _unfinished(results: Mapping[str, Any]) -> bool:
    if not results.get("stopped by"):
        return False
    from visionattn.training.ending import EARLY

    return bool(results["stopped by"] != EARLY)


def read_outcome(folder: Path) -> dict[str, Any] | None:
    """How the training of a folder ended; None: it has not."""
    try:
        return dict(json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def check_folder(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a folder holds this comparison already; False: it is new or empty.

    Raises:
        ConfigError: it holds another comparison, or something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / PLAN).is_file():
        raise ConfigError(f"{folder} holds other files and no comparison; give dir=ANOTHER_FOLDER")
    before = Plan.read(folder).asked
    differing = [name for name in sorted({*before, *asked}) if before.get(name) != asked.get(name)]
    if differing:
        told = "; ".join(
            f"{name}: was {_said(before.get(name))}, is now {_said(asked.get(name))}" for name in differing
        )
        raise ConfigError(f"{folder} holds another comparison ({told}); give dir=ANOTHER_FOLDER")
    return True


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


def begun_before(parent: Path, asked: Mapping[str, Any]) -> Path | None:
    """The newest folder below ``parent`` that holds the same comparison."""
    for plan in sorted(parent.glob(f"*/{PLAN}"), key=lambda path: path.parent.name, reverse=True):
        try:
            if Plan.read(plan.parent).asked == asked:
                return plan.parent
        except ConfigError:
            continue
    return None
