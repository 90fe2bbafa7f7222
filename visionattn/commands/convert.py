"""``visionattn data convert``: a data set of boxes and polygons in another format."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.data.detection import Coco, Labelme, PascalVOCDetection, Yolo
from visionattn.data.detection.convert.convert import IMAGES, WRITERS, check_folder, in_words, plan, read_splits, write
from visionattn.data.facts import AUTO
from visionattn.errors import ConfigError
from visionattn.runs.table import print_results
from visionattn.training.writing import writing


def _coco(root: str, **options: Any) -> Coco:
    """COCO's own names of files, of all splits that are there; without them any layout that is recognized."""
    files = {split: f"annotations/instances_{split}2017.json" for split in Coco.splits}
    own = {split: name for split, name in files.items() if (Path(root).expanduser() / name).is_file()}
    usual: dict[str, Any] = {"annotations": own or AUTO, "images": {s: f"{s}2017" for s in own} if own else AUTO}
    return Coco(root, **{**usual, **options})


SOURCES: dict[str, Any] = {"coco": _coco, "yolo": Yolo, "voc": PascalVOCDetection, "labelme": Labelme}


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Convert a data set, and say before and after what the new format does not hold.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        Number of images and objects of each split, and ``losses``.

    Raises:
        ConfigError: an unknown format or option, or a folder that holds something.
        DataError: the data set cannot be read.
    """
    source = _source(cfg)
    folder = Path(cfg.dir).expanduser()
    check_folder(folder)
    made = read_splits(source.open, _splits(source, cfg.splits))
    texts = plan(made, cfg.to)
    lost = in_words(+made.losses)
    _tell(lost, cfg.to, "would not be kept" if dry_run else "will not be kept")
    numbers = made.counts()
    if dry_run:
        print_results("dry run: nothing was written", numbers)
        return {}
    with writing(folder, "nothing of it is left; make room or choose another dir="):
        write(made, texts, cfg.to, folder, cfg.images)
    print_results(f"{cfg.root} from {cfg['from']} to {cfg.to}", numbers | {"not kept": "; ".join(lost) or "nothing"})
    name = {"coco": "coco", "yolo": "yolo", "voc": "pascal_voc_detection"}[cfg.to]
    check = shlex.join(["visionattn", "data", "doctor", f"data={name}", f"data.root={folder}"])
    Console().print(f"check it: {check}", highlight=False, soft_wrap=True)
    return {**numbers, "losses": dict(+made.losses)}


def _tell(lost: list[str], to: str, what: str) -> None:
    if lost:
        Console(stderr=True).print(
            f"{what} in {to}'s format:\n" + "\n".join(f"  {line}" for line in lost), highlight=False, soft_wrap=True
        )


def _source(cfg: DictConfig) -> Any:
    """The source that reads the data set."""
    for key, known in (("from", tuple(SOURCES)), ("to", tuple(WRITERS)), ("images", IMAGES)):
        if cfg[key] not in known:
            raise ConfigError(f"{key}={cfg[key]} is unknown; use {key}={'|'.join(known)}")
    if cfg["from"] == cfg.to:
        raise ConfigError(f"from and to are both {cfg.to}; nothing is to be converted")
    options: dict[str, Any] = OmegaConf.to_container(cfg.options)  # type: ignore[assignment]
    try:
        return SOURCES[cfg["from"]](root=str(cfg.root), **options)
    except TypeError as error:
        raise ConfigError(f"options of from={cfg['from']}: {error}") from None


def _splits(source: Any, given: Any) -> list[str]:
    """The splits to convert: those that are named, or those that exist under their own name."""
    own = source.own_splits()
    if given is None:
        return list(own)
    named = [given] if isinstance(given, str) else list(given)
    unknown = [name for name in named if name not in own]
    if unknown:
        raise ConfigError(f"splits: {source.root} has no {', '.join(unknown)}, only {', '.join(own) or 'none'}")
    return named
