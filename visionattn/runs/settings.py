"""What a training is made of and where each value comes from: the recipe, the data, an experiment, the command line.

It is printed by a dry run and at the start of a run, and stands in the run's card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionattn.config import catalog
from visionattn.config.messages import flat_keys, plain, unresolved_plain, value_at
from visionattn.config.recipes import OWN
from visionattn.config.spelling import typed_choices
from visionattn.reports import Change
from visionattn.runs.infer import Inference, Inferred
from visionattn.runs.own_folder import RECOGNIZED
from visionattn.training.lr_scaling import LearningRateScaling

GROUPS = ("task", "data", "backbone", "head", "optim", "schedule", "callbacks", "trainer", "inference", "debug")
ALWAYS = (
    *("data.num_classes", "data.image_size", "data.batch_size", "data.num_workers", "optim.lr", "optim.weight_decay"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.precision", "backbone.drop_path_rate", "weights"),
)
"""Keys that are shown whoever says them."""
UNSAID = (
    *("data.train_transform.long_edge", "data.train_transform.crop_size", "data.eval_transform.long_edge"),
    *("task.lr_base_size", "task.lr_base_scale"),
)
"""Keys that are shown only where they were typed: others say as much. ``config.yaml`` has them all."""
TOGETHER = ("optim", "schedule", "callbacks")
"""Groups of a recipe, which are shown in one row."""
FAR = 4.0
"""Factor between a rate and the recipe's from which it is a warning."""


@dataclass(frozen=True)
class Composition:
    """How a configuration was composed.

    Attributes:
        choices: group -> name of its file.
        typed: overrides as they were typed.
        folders: the user's folders of YAML.
        chosen: keys that were chosen for a folder (``data=FOLDER``), with why; see :mod:`visionattn.runs.own_folder`.
        read: (group, name) -> what :meth:`file` found.
    """

    choices: Mapping[str, Any] = field(default_factory=dict)
    typed: Sequence[str] = ()
    folders: Sequence[Path] = ()
    chosen: Mapping[str, str] = field(default_factory=dict)
    read: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_this_job(cls, chosen: Mapping[str, str] | None = None) -> Composition:
        """That of the running job; nothing outside one."""
        from hydra.core.hydra_config import HydraConfig

        if not HydraConfig.initialized():
            return cls()
        hydra = HydraConfig.get()
        folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
        typed: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
        why = {str(key).replace("/", "."): str(text) for key, text in (chosen or {}).items()}
        return cls(dict(hydra.runtime.choices), typed, folders, why)

    @cached_property
    def keys(self) -> set[str]:
        """Keys and groups that were typed."""
        given = {str(word).partition("=")[0].lstrip("+~") for word in self.typed}
        return given - {RECOGNIZED} - set(self.chosen)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What the file of the recipe says, with its list of defaults."""
        name = self.choices.get("recipe")
        return self.file("recipe", str(name)) if name else {}

    def file(self, group: str, name: str) -> dict[str, Any]:
        """What a file says, over what the files of its own group that it inherits say; empty: there is none."""
        if (group, name) not in self.read:
            self.read[group, name] = self._file(group, name)
        return self.read[group, name]

    def _file(self, group: str, name: str) -> dict[str, Any]:
        for root in (catalog.source_root(), *self.folders):
            path = root.joinpath(group, f"{name}.yaml")
            if path.is_file():
                contents = catalog.read(path)
                parents = [entry for entry in contents.get("defaults", ()) if isinstance(entry, str)]
                merged: Any = OmegaConf.create({})
                for parent in (entry for entry in parents if entry != "_self_" and "/" not in entry):
                    merged = OmegaConf.merge(merged, OmegaConf.create(self.file(group, parent)))
                return dict(unresolved_plain(OmegaConf.merge(merged, OmegaConf.create(contents))))
        return {}


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from."""

    key: str
    value: Any
    origin: str
    note: str = ""


def settings(cfg: DictConfig, inferred: Inference, made: Composition) -> list[Setting]:
    """The choices and values that decide about a training, in a fixed order."""
    known = {key: Inferred(key, None, why) for key, why in made.chosen.items()}
    known |= {one.key: one for one in inferred.values}
    typed = typed_choices(cfg, made.choices)
    groups = [Setting(name, typed[name], *_origin_of_group(name, made)) for name in GROUPS if name in typed]
    groups = _together([one for one in groups if one.origin != "default"])
    recipe = {name: part for name, part in made.recipe.items() if name != "defaults"}
    keys = [*ALWAYS, *_leaves(recipe), *(key for key in (*known, *made.keys) if key not in made.choices)]
    values = []
    for key in dict.fromkeys(keys):
        value = OmegaConf.select(cfg, key, default=None)
        if value is None or key in ("run_dir", "name", "resume", "ckpt") or key.startswith("hydra"):
            continue
        origin = _origin(key, plain(value), known, made)
        if not _says_nothing(key, plain(value), origin, cfg, made):
            note = known[key].how if key in known else _base(cfg) if key == "optim.lr" else ""
            values.append(Setting(key, value, origin, note))
    notes = [Setting("data says", note, "inferred") for note in inferred.notes]
    return [*groups, *values, *notes]


def _says_nothing(key: str, value: Any, origin: str, cfg: DictConfig, made: Composition) -> bool:
    """Whether a row would not tell a reader anything."""
    if origin == "yours" or key == "optim.lr":
        return False
    if key in UNSAID or (key, value) == ("trainer.max_steps", -1):
        return True
    if key == "data.image_size" and OmegaConf.select(cfg, "data.eval_transform.short_edge") is not None:
        return True
    group, _, rest = key.partition(".")
    usual = _at(made.file(group, str(made.choices.get(group))), rest)
    return origin.startswith("recipe") and key not in ALWAYS and usual == value


def _base(cfg: DictConfig) -> str:
    """What the rate is meant for."""
    base = cfg.task.get("lr_base_size")
    return f"at {base} images per step" if base else "at any batch"


def _together(groups: list[Setting]) -> list[Setting]:
    """The groups of the recipe in one row."""
    joint = [one for one in groups if one.key in TOGETHER and one.origin.startswith("recipe")]
    others = [one for one in groups if one not in joint]
    if not joint:
        return others
    keys, values = (", ".join(str(getattr(one, name)) for one in joint) for name in ("key", "value"))
    return [*others, Setting(keys, values, joint[0].origin)]


def _origin_of_group(name: str, made: Composition) -> tuple[str, str]:
    """Where a choice comes from, and a note."""
    choice, experiment = made.choices[name], made.choices.get("experiment")
    if name in made.keys:
        return "yours", ""
    if name in made.chosen:
        return "inferred", made.chosen[name]
    if any(entry == {f"override /{name}": choice} for entry in made.recipe.get("defaults", ())):
        return f"recipe {made.choices['recipe']}", ""
    if choice == _default_choice(name):
        return "default", ""
    if experiment and name not in ("task", "head"):
        return f"experiment {experiment}", ""
    if experiment and made.choices.get("recipe") == OWN:
        return f"experiment {experiment}", ""
    source = made.choices.get("data") if name == "task" and "head" not in made.keys else made.choices.get("head")
    kind = "data" if source == made.choices.get("data") else "head"
    return "inferred", f"from {kind}={source}" if name == "task" else f"usual for task={made.choices.get('task')}"


def _default_choice(group: str) -> Any:
    root = catalog.source_file("train.yaml")
    entries = catalog.read(root)["defaults"] if root is not None else []
    return next((entry[group] for entry in entries if isinstance(entry, dict) and group in entry), None)


def _origin(key: str, value: Any, known: Mapping[str, Inferred], made: Composition) -> str:
    if key in made.keys:
        return "yours"
    if key in known:
        return "inferred"
    group, _, rest = key.partition(".")
    if _at(made.recipe, key) == value:
        return f"recipe {made.choices['recipe']}"
    experiment = made.choices.get("experiment")
    if experiment and _at(made.file(group, str(made.choices.get(group))), rest) != value:
        return f"experiment {experiment}"
    return "default"


def _leaves(values: Any) -> Iterator[str]:
    every = list(flat_keys(values))
    return (key for key in every if not any(other.startswith(f"{key}.") for other in every))


_NOTHING = object()
_at = partial(value_at, missing=_NOTHING)


def changes(found: Sequence[Setting], made: Composition) -> dict[str, Change]:
    """What neither the recipe nor a default says, by key."""
    differing = {}
    for one in found:
        if one.origin != "default" and not one.origin.startswith("recipe") and one.key != "data says":
            by = f"{one.origin}: {one.note}" if one.note else one.origin
            differing[one.key] = Change(one.value, _usual(one.key, made), by)
    return differing


def _usual(key: str, made: Composition) -> Any:
    """What the recipe says of a key, else the file of its group, else the default choice of a group."""
    group, _, rest = key.partition(".")
    if not rest:
        return _default_choice(group)
    known = (_at(made.recipe, key), _at(made.file(group, str(made.choices.get(group))), rest))
    return next((value for value in known if value is not _NOTHING and "${" not in str(value)), None)


def far_rate(cfg: DictConfig, batch: int, made: Composition) -> str:
    """A sentence about a rate that is far from the recipe's for this batch; empty where it is not.

    Args:
        cfg: of the training.
        batch: images per optimizer step.
        made: how the configuration was composed.
    """
    name = made.choices.get("recipe")
    if name == OWN:
        name = _task_recipe(cfg, made) if "optim.lr" in made.keys else None
    recipe = made.file("recipe", str(name)) if name else {}
    rate, ours = _at(recipe, "optim.lr"), OmegaConf.select(cfg, "optim.lr", default=None)
    chosen = {"override /optim": made.choices.get("optim")}
    if not isinstance(rate, float) or not isinstance(ours, (int, float)) or chosen not in recipe["defaults"]:
        return ""
    base, rule = (_at(recipe, f"task.lr_base_{part}") for part in ("size", "scale"))
    expected = LearningRateScaling(base if base is not _NOTHING else None, rule if rule is not _NOTHING else "linear")
    wanted = expected(rate, batch)
    scaled = LearningRateScaling(cfg.task.get("lr_base_size"), cfg.task.get("lr_base_scale") or "linear")
    ratio = scaled(float(ours), batch) / wanted
    if not ratio or 1 / FAR <= ratio <= FAR:
        return ""
    factor = f"{ratio:.3g} times" if ratio > 1 else f"1/{1 / ratio:.3g} of"
    return (
        f"the learning rate {scaled(float(ours), batch):g} is {factor} that of recipe {name} for {batch} images per "
        f"step, {wanted:g}"
    )


def _task_recipe(cfg: DictConfig, made: Composition) -> str:
    task = str(made.choices.get("task"))
    return task if cfg.get("weights") is None else f"{task}_finetune"
