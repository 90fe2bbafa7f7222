"""``data=FOLDER``: the layout is recognized, and what fits the folder and this machine is chosen, unless somebody did.

The words of the command line are replaced before anything is composed: ``data=my_folder`` becomes ``data=yolo
data.root=my_folder``, and a training gets ``backbone`` and ``weights`` too. ``recognized`` tells why, key by key.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionattn.config import catalog
from visionattn.config.aliases import FILES
from visionattn.config.columns import TASKS, names_for
from visionattn.config.composing import as_override
from visionattn.data.facts import sampled_size
from visionattn.data.layout_marks import Mark
from visionattn.data.recognize import recognize, some_images
from visionattn.errors import ConfigError
from visionattn.runs.begun import RECOGNIZED, begun_in, chosen_then, newest_begun, reasons_then
from visionattn.weights.reach import why_out_of_reach

SMALL = 96
"""Images with a shorter edge of at most as many pixels are small: no published weights were trained on such."""
SMALL_BACKBONE = "dinat_pico"
SMALL_RECIPE = "digits"
_NO_SMALL = "no published weights are for such images"
_CROPS = {"scale": [0.5, 1.0], "auto_augment": None, "re_prob": 0.0}
MILD = {f"data.train_transform.{name}": value for name, value in _CROPS.items()}
"""Augmentation that leaves something of a small image."""
ON_GPU = "swin_tiny"
ON_CPU = {"classification": "shvit_s1"}
"""Task -> the backbone that starts from published weights without a GPU; of the other tasks :data:`DENSE_ON_CPU`."""
DENSE_ON_CPU = "gcvit_xxtiny"
_TOOLS, _DEVICES = ("nvidia-smi", "rocm-smi"), ("/dev/nvidia0", "/dev/kfd")
_MEANS_WEIGHTS = ("weights", "backbone.pretrained", "ckpt")


@dataclass(frozen=True)
class Words:
    """The overrides of a command line, by key.

    Attributes:
        words: as typed, quoted where Hydra needs it.
        folders: the user's folders of YAML.
    """

    words: Sequence[str]
    folders: Sequence[str | Path] = ()

    def value(self, key: str) -> str | None:
        """The last value that is given for a key or group, without quotes."""
        found = [word.partition("=")[2] for word in self.words if word.lstrip("+").partition("=")[0] == key]
        return _unquoted(found[-1]) if found else None

    def given(self, *keys: str) -> bool:
        """Whether one of these keys or groups is named."""
        return any(self.value(key) is not None for key in keys)

    @property
    def task(self) -> str | None:
        """The task that is asked for, by its name or by a head that is for it alone."""
        head = self.value("head")
        return self.value("task") or next((task for task in TASKS if head in names_for("head", task)), None)

    @property
    def task_of_data(self) -> str | None:
        """The task whose data are asked for: objects alone are those of detection."""
        alone = (self.value("task.panoptic") or "").lower() == "false"
        return "detection" if alone and self.task == "panoptic" else self.task

    @property
    def folder(self) -> Path | None:
        """The folder that ``data=`` names; None: it names a kind of data, or nothing.

        Raises:
            ConfigError: it names both, or several folders.
        """
        text = self.value("data")
        if text is None or text.lower() in ("", "null", "none"):
            return None
        if text in catalog.choices("data", self.folders) or f"data/{text}" in FILES:
            self._refuse_both(text)
            return None
        if "," in text and any(Path(part).expanduser().is_dir() for part in text.split(",")):
            raise ConfigError(f"data={text} names several folders; train on each by itself")
        path = Path(text).expanduser()
        return path if path.exists() or "/" in text or text.startswith((".", "~")) else None

    def _refuse_both(self, name: str) -> None:
        file = catalog.source_root().joinpath("data", f"{name}.yaml")
        needs_root = file.is_file() and catalog.with_parts("data", name).get("root") == "???"
        if needs_root and Path(name).is_dir() and not self.given("data.root", "experiment"):
            raise ConfigError(
                f"data={name} is a kind of data and {name} a folder beside you: data=./{name} recognizes that folder, "
                f"data={name} data.root=DIR reads one of this kind"
            )


def with_folder(words: Sequence[str], command: str | None, folders: Sequence[str | Path] = ()) -> list[str]:
    """The overrides with a folder of the user's own replaced by what it was recognized as.

    Args:
        words: as typed.
        command: that is run; a training also gets a backbone and weights.
        folders: the user's folders of YAML.

    Raises:
        ConfigError: two folders are named.
        DataError: no layout is recognized, or several are.
    """
    typed = Words(words, folders)
    folder = typed.folder
    if folder is None:
        return list(words)
    if typed.given("data.root"):
        raise ConfigError(f"data={folder} and data.root={typed.value('data.root')} name two folders; leave one away")
    mark = recognize(folder, typed.task_of_data, "" if typed.value("task") else f"head={typed.value('head')}")
    chosen, why = _data(mark, typed), {"data": mark.why}
    if command == "train":
        starting, reasons = _begun(typed, chosen) or _begin(mark, typed)
        why = {**dict.fromkeys(chosen, ""), **why, **reasons}
        why.pop("data.root", None)  # the folder is what was typed
        chosen |= {**starting, RECOGNIZED: {key.replace(".", "/"): text for key, text in why.items()}}
    elif os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"visionattn: {folder} is read as data={mark.data}: {mark.why}", file=sys.stderr)
    others = [word for word in words if word.lstrip("+").partition("=")[0] != "data"]
    return [*(as_override(key, value) for key, value in chosen.items()), *others]


def _data(mark: Mark, typed: Words) -> dict[str, Any]:
    """The group and its keys."""
    keys = {"root": str(mark.root), **mark.keys} if "source.name" not in mark.keys else dict(mark.keys)
    inner = {f"data.{key}": value for key, value in keys.items() if not typed.given(f"data.{key}")}
    return {"data": mark.data, **inner}


def _begin(mark: Mark, typed: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """Backbone and weights, and why; nothing where an experiment states them."""
    if typed.given("experiment", "recipe"):
        return {}, {}
    own, told = typed.value("backbone"), typed.given(*_MEANS_WEIGHTS)
    if own is None and told and typed.value("weights") != "timm":
        return {}, {}  # weights of which nobody says whose: those of the default backbone
    size = mark.image_size or sampled_size(some_images(mark.root if mark.root.is_dir() else mark.root.parent))
    if own is None and not told and size is not None and min(size) <= SMALL:
        return _small(mark, typed, f"for small images, these have about {size[0]}x{size[1]} pixels")
    gpu = own is None and _gpu(typed)
    name = own or (ON_GPU if gpu else ON_CPU.get(mark.task, DENSE_ON_CPU))
    fast = {"backbone": "fast enough with a GPU" if gpu else "small enough for a machine without a GPU"}
    chosen, why = ({}, {}) if own else ({"backbone": name}, fast)
    problem = "" if told else _problem(name, typed)
    if told or not problem:
        taken = {} if told else {"weights": f"timm's {_weights_of(name, typed)['timm']}"}
        return {**chosen, **dict.fromkeys(taken, "timm")}, {**why, **taken}
    if own is None and not gpu:
        chosen, why = {"backbone": SMALL_BACKBONE}, {"backbone": "small enough to learn from nothing without a GPU"}
    return chosen, {**why, **_nothing(problem)}


def _small(mark: Mark, typed: Words, why: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A small backbone from nothing; classification gets the recipe and the mild crops of small images."""
    chosen: dict[str, Any] = {"backbone": SMALL_BACKBONE}
    if mark.task == "classification":
        chosen |= {"recipe": SMALL_RECIPE, **MILD}
    chosen = {key: value for key, value in chosen.items() if not typed.given(key)}
    return chosen, {**dict.fromkeys(chosen, "as small images need it"), "backbone": why, **_nothing(_NO_SMALL)}


def _problem(backbone: str, typed: Words) -> str:
    """Why published weights of a backbone cannot be had; empty: they can."""
    listed = _weights_of(backbone, typed)
    if listed.get("timm"):
        return why_out_of_reach(listed["timm"])
    where = f", its authors' are at {listed['official']}" if listed.get("official") else ""
    return f"timm has no weights for {backbone}{where}"


def _nothing(why: str) -> dict[str, str]:
    return {"weights": f"{why}; weights=FILE starts from a file"}


def _begun(typed: Words, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]] | None:
    """What was chosen for the run that is to go on, as far as it is not typed, and why; None: a run begins."""
    ckpt, folder = typed.value("ckpt"), typed.value("hydra.run.dir")
    config = None
    if ckpt or (folder and typed.given("resume")):
        config = begun_in(Path(ckpt).parent.parent if ckpt else Path(str(folder)))
    elif typed.value("resume") == "auto":
        config = newest_begun(data, typed.value("backbone"))
    if config is None:
        return None
    found = {key: value for key, value in chosen_then(config).items() if not typed.given(key)}
    why = {key: text for key, text in reasons_then(config).items() if not typed.given(key)}
    return found, why or dict.fromkeys(found, "as the run began")


def _gpu(typed: Words) -> bool:
    if typed.value("trainer") == "cpu" or typed.value("trainer.accelerator") == "cpu":
        return False
    driver = any(shutil.which(tool) for tool in _TOOLS) or any(Path(place).exists() for place in _DEVICES)
    if not driver:  # PyTorch need not be loaded to know
        return False
    from visionattn.runs.sizes import uses_gpu

    return uses_gpu(typed.value("trainer.accelerator") or "auto")


def _weights_of(backbone: str, typed: Words) -> Mapping[str, Any]:
    """The published weights that the card of a backbone lists: ``timm``'s name, ``official`` address."""
    if backbone == "timm":
        return {"timm": typed.value("backbone.model")}
    file = catalog.source_root().joinpath("backbone", f"{backbone}.yaml")
    card: Mapping[str, Any] = catalog.with_parts("backbone", backbone).get("card") or {} if file.is_file() else {}
    return card.get("weights") or {}


def _unquoted(text: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (parsed,) = OverridesParser.create().parse_overrides([f"key={text}"])
    except HydraException:
        return text
    value: Any = parsed.value()
    return value if isinstance(value, str) else text
