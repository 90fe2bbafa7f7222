"""Values that a configuration leaves open (``auto``), filled in from the data, the backbone and the machine.

What the user or an experiment says is no ``auto`` and stays. The values stand in ``config.yaml`` as if they had been
typed, so that a run can be resumed, evaluated and exported without asking again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.columns import column_of
from visionattn.config.messages import open_keys, plain, unresolved_plain
from visionattn.config.renames import renamed
from visionattn.config.targets import locate
from visionattn.data.facts import AUTO, DataFacts
from visionattn.data.folders import some
from visionattn.data.image_size import as_size
from visionattn.data.mirroring import HALF, why_not_mirrored
from visionattn.errors import ConfigError
from visionattn.runs import sizes


@dataclass(frozen=True)
class Inferred:
    """A value that was filled in.

    Attributes:
        key: of the configuration.
        value: as it stands there now.
        how: a few words.
    """

    key: str
    value: Any
    how: str


@dataclass(frozen=True)
class Inference:
    """What :func:`infer` found.

    Attributes:
        values: what was filled in, in a fixed order.
        notes: sentences of the data, for the user; empty where nothing was asked of them.
    """

    values: list[Inferred] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def after(self, kept: list[Inferred]) -> Inference:
        """These behind others."""
        return Inference([*kept, *self.values], self.notes)


def infer(cfg: DictConfig, policy: BuildPolicy = DEFAULT_POLICY, training: bool = True) -> Inference:
    """Fill in every ``auto`` of data, head, backbone and trainer, in place.

    Labels and a few image headers are read if the data are asked for something.

    Args:
        cfg: composed ``train.yaml``, or another configuration with ``data``.
        policy: what configurations may build.
        training: whether something is trained on the data; if not, they are not asked what training alone needs.

    Raises:
        ConfigError: a value is ``auto`` that nothing can tell; names the key. Or data and backbone have different
            numbers of channels.
        DataError: the data cannot be found.
    """
    return _Filling(cfg, policy, training).run() if cfg.get("data") is not None else Inference()


def adopt(cfg: DictConfig, earlier: DictConfig) -> list[Inferred]:
    """Fill in every ``auto`` with what an earlier configuration of the same training has there, in place.

    A run that is resumed keeps what was inferred when it began, also on another machine.
    """
    done = []
    for key in open_keys(unresolved_plain(cfg)):
        value: Any = OmegaConf.select(earlier, key, default=None)
        if not key.startswith("hydra.") and value is not None and value != AUTO:
            OmegaConf.update(cfg, key, value)
            done.append(Inferred(key, value, "as the run began"))
    return done


def adopt_file(cfg: DictConfig, path: Path) -> None:
    """The same from the ``config.yaml`` of a run."""
    earlier = OmegaConf.load(path)
    if isinstance(earlier, DictConfig):
        adopt(cfg, earlier)


class _Filling:
    """One configuration while its open values are filled in."""

    def __init__(self, cfg: DictConfig, policy: BuildPolicy, training: bool) -> None:
        self.cfg, self.policy, self.training = cfg, policy, training
        self.done: list[Inferred] = []
        self.task = column_of("task", (cfg.get("task") or {}).get("_target_")) or column_of(
            "data", cfg.data.get("_target_")
        )

    def run(self) -> Inference:
        """Fill in everything, and refuse what stays open."""
        self._source()
        if self.open("data.num_classes") and self.facts.num_classes is not None:
            names = f": {some(self.facts.class_names, 6)}" if self.facts.class_names else ""
            self.fill("data.num_classes", self.facts.num_classes, f"counted in the data{names}")
        if self.open("head.masks"):
            given = OmegaConf.select(self.cfg, "data.source.masks")
            masks = given if isinstance(given, bool) else bool(self.facts.options.get("masks", False))
            self.fill("head.masks", masks, "the data have masks" if masks else "no masks are known of")
        self._channels()
        self._mirroring()
        {"classification": self._square, "segmentation": self._crops}.get(str(self.task), self._edges)()
        self._machine()
        for key in self.still_open():
            raise ConfigError(f"{key} is auto, and {self._who()} cannot tell it: give {key}=VALUE")
        return Inference(self.done, self.facts.notes if "facts" in vars(self) else ())

    @cached_property
    def facts(self) -> DataFacts:
        """What the data tell; nothing where their source cannot."""
        source = self.cfg.data.source
        options = {key: value for key, value in plain(source).items() if not str(key).startswith("_")}
        kind = locate(renamed(str(source._target_)), self.policy.allow, "data.source")
        inspect = getattr(kind, "inspect", None)
        root = self.cfg.data.get("root") or options.get("root")
        return DataFacts() if inspect is None else inspect(Path(root or "."), options)

    def open(self, key: str) -> bool:
        """Whether a key waits for a value."""
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(self.cfg, parent)
        if not isinstance(node, DictConfig) or name not in node or OmegaConf.is_interpolation(node, name):
            return False
        return not OmegaConf.is_missing(node, name) and node[name] == AUTO

    def fill(self, key: str, value: Any, how: str) -> None:
        """Write a value, and note how it came about."""
        OmegaConf.update(self.cfg, key, value)
        self.done.append(Inferred(key, value, how))

    def fill_open(self, values: dict[str, Any], how: str) -> None:
        """The same for those keys that wait."""
        for key, value in values.items():
            if self.open(key):
                self.fill(key, value, how)

    def still_open(self) -> list[str]:
        """Keys that nothing could tell. A source may know an ``auto`` of its own."""
        keys = [f"data.{name}" for name in ("num_classes", "image_size", "batch_size", "num_workers")]
        keys += [f"data.{key}" for key in open_keys(plain(self.cfg.data)) if "_transform." in key]
        return [key for key in keys if self.open(key)]

    def _who(self) -> str:
        return str(self.cfg.data.source._target_).rpartition(".")[2]

    def _source(self) -> None:
        """Options of the source."""
        keys = list(open_keys(plain(self.cfg.data.source)))
        if not keys:
            return
        with open_dict(self.cfg.data.source):
            for name in dict.fromkeys(key.partition(".")[0] for key in keys):
                if name in self.facts.options:
                    self.fill(f"data.source.{name}", self.facts.options[name], "found in the data")

    def _channels(self) -> None:
        """Channels of the images and the range of their values."""
        if self.open("data.in_chans"):
            self.fill("data.in_chans", self.facts.in_chans or 3, "the images' channels")
        if self.open("data.value_range"):
            bounds = self.facts.value_range
            self.fill("data.value_range", list(bounds) if bounds else None, "values of the images")
        ours, theirs = (OmegaConf.select(self.cfg, f"{group}.in_chans") for group in ("data", "backbone"))
        if isinstance(ours, int) and ours != 3 and theirs == 3:
            self.fill("backbone.in_chans", ours, "as the data")
            theirs = ours
        if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs:
            raise ConfigError(
                f"data.in_chans={ours} and backbone.in_chans={theirs} differ: give data.in_chans alone, the backbone "
                "follows"
            )

    def _mirroring(self) -> None:
        """The share of training images that is mirrored, unless a mirror changes what the classes mean."""
        for key in ("data.train_transform.hflip", "data.train_transform.flip"):
            if self.open(key):
                named = self.training and self.facts.named
                why = why_not_mirrored(self.facts.class_names or ()) if named else ""
                self.fill(key, 0.0 if why else HALF, why or "no name of a class speaks against a mirror")

    def _square(self) -> None:
        """Classification: one size for training, validation and export."""
        if self.open("data.image_size"):
            card = ((self.cfg.get("backbone") or {}).get("card") or {}).get("input_size")
            size, how = sizes.classification_size(card[1] if card else None, self.facts.image_size)
            self.fill("data.image_size", size, how)

    def _edges(self) -> None:
        """Detection and panoptic segmentation: edges of images in training and evaluation."""
        train, evaluation = "data.train_transform.", "data.eval_transform."
        keys = [*(f"{train}{name}" for name in ("short_edges", "long_edge", "crop_size", "crop"))]
        keys += [*(f"{evaluation}{name}" for name in ("short_edge", "long_edge")), "data.image_size"]
        if not any(self.open(key) for key in keys):
            return
        stated = None if self.open("data.image_size") else OmegaConf.select(self.cfg, "data.image_size")
        known = sizes.detection_edges(self.facts.image_size) if stated is None else None
        edges, how = known or sizes.edges_within(as_size(plain(stated)))
        square = [edges.canvas, edges.canvas]
        longest = max(self._given(keys[0], edges.long), self._given(keys[4], edges.long), edges.long)
        values = [list(edges.training), longest, square, edges.crop, edges.short, longest]
        values.append(square if self.task == "panoptic" else [edges.short, edges.long])
        self.fill_open(dict(zip(keys, values, strict=True)), how)

    def _given(self, key: str, otherwise: int) -> int:
        """The longer edge that suits shorter ones that somebody gave."""
        edges = None if self.open(key) else OmegaConf.select(self.cfg, key)
        largest = max(plain(edges)) if OmegaConf.is_list(edges) else edges
        return sizes.longer(largest) if isinstance(largest, int) else otherwise

    def _crops(self) -> None:
        """Segmentation: crops and the shorter edge; the task's inference follows them by reference."""
        keys = ("data.image_size", "data.train_transform.short_edge", "data.train_transform.long_edge")
        if any(self.open(key) for key in keys):
            edge, how = sizes.segmentation_edge(self.facts.image_size)
            self.fill_open(dict(zip(keys, (edge, edge, 4 * edge), strict=True)), how)
        if self.open("task.inference.stride"):
            crop = min(as_size(plain(self.cfg.task.inference.crop)))
            self.fill("task.inference.stride", max(1, 2 * crop // 3), "two thirds of the crop")

    def _machine(self) -> None:
        """What depends on the machine and the backbone."""
        trainer, processes = self.cfg.get("trainer") or {}, self._processes()
        accelerator = str(trainer.get("accelerator", "auto"))
        if self.open("trainer.precision"):
            self.fill("trainer.precision", *sizes.precision(accelerator))
        if self.open("backbone.drop_path_rate"):
            params = (self.cfg.backbone.get("card") or {}).get("params")
            self.fill("backbone.drop_path_rate", *sizes.drop_path_rate(params))
        if self.open("data.num_workers"):
            self.fill("data.num_workers", *sizes.workers(processes))
        if self.open("data.batch_size"):
            fitting, device = self._fitting(accelerator)
            images = self.facts.images.get("train")
            self.fill("data.batch_size", *sizes.batch_size(str(self.task), processes, images, fitting, device))

    def _processes(self) -> int:
        devices = (self.cfg.get("trainer") or {}).get("devices", 1)
        return devices if isinstance(devices, int) and devices > 0 else 1

    def _fitting(self, accelerator: str) -> tuple[float, str]:
        """Images that fit in memory by a rough estimate, and the name of the device."""
        memory, device = sizes.device_memory(accelerator)
        backbone = self.cfg.get("backbone") or {}
        if not (backbone.get("dims") and backbone.get("depths")):
            return float("inf"), device
        rows = {name: plain(backbone[name]) for name in ("dims", "depths")}
        half = str((self.cfg.get("trainer") or {}).get("precision", "")).startswith(("bf16", "16"))
        needed = sizes.bytes_per_image(
            rows, as_size(plain(self.cfg.data.image_size)), self.task != "classification", half
        )
        return sizes.MEMORY * memory / needed, device
