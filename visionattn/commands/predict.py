"""``visionattn predict``: what a trained model says about a user's own pictures, drawn and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from rich.console import Console
from rich.progress import track

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.data.decode import EXTENSIONS, decode_rgb
from visionattn.data.unreadable import UnreadableImage, UnreadableRecord
from visionattn.errors import ConfigError, DataError
from visionattn.runs.open import open_run
from visionattn.runs.table import print_results
from visionattn.tasks.predict import Predicted, PredictsImages

_BATCH = 4


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Draws a model's answers on pictures; writes ``<name>.png`` for each, and ``predictions.json`` for all.

    Args: as for :func:`visionattn.commands.train.run`.
    Returns:
        ``images`` and ``unreadable``, counted, and ``folder``; empty for a dry run.
    Raises:
        CheckpointError: an unusable checkpoint.
        ConfigError: the checkpoint's task cannot be asked about pictures.
        DataError: no picture at the source, or none that can be read.
    """
    seed_everything(0, verbose=False)
    opened = open_run(cfg.ckpt, policy)
    task = opened.task
    if not isinstance(task, PredictsImages):
        raise ConfigError(f"predict draws boxes, masks and class maps; this checkpoint has a {type(task).__name__}")
    paths, base = _pictures(Path(cfg.source).expanduser())
    if dry_run:
        print_results("dry run: the model builds; nothing was read", {"pictures": len(paths)})
        return {}
    folder = Path(cfg.dir) if cfg.dir else run_dir
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(cfg.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    task.to(device).eval()  # type: ignore[attr-defined]
    data = opened.data()
    options = OmegaConf.to_container(cfg.options, resolve=True)
    records: list[dict[str, Any]] = []
    unreadable: list[UnreadableRecord] = []
    for names, images in _batches(paths, base, unreadable):
        with torch.inference_mode():
            answers = task.predict_images(images, data, options)  # type: ignore[arg-type]
        records += [_write(folder, name, answer) for name, answer in zip(names, answers, strict=True)]
    contents = {"checkpoint": str(opened.path), "images": records, "unreadable": [list(pair) for pair in unreadable]}
    (folder / "predictions.json").write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    for name, reason in unreadable:
        Console(stderr=True).print(f"{name} cannot be read: {reason}", highlight=False, markup=False, soft_wrap=True)
    if not records:
        raise DataError(f"none of the {len(paths)} pictures at {cfg.source} can be read")
    facts = {"pictures": len(records), "unreadable": len(unreadable)}
    print_results("predictions", facts, {"folder": folder, "all answers": folder / "predictions.json"})
    return {"images": len(records), "unreadable": len(unreadable), "folder": str(folder)}


def _pictures(source: Path) -> tuple[list[Path], Path]:
    """The pictures at a source, and the folder their names are relative to."""
    if source.is_file():
        return [source], source.parent
    if not source.is_dir():
        raise DataError(f"source={source} is neither a picture nor a folder")
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    if not found:
        raise DataError(f"there is no picture below {source} ({', '.join(sorted(EXTENSIONS))})")
    return found, source


def _batches(
    paths: list[Path], base: Path, unreadable: list[UnreadableRecord]
) -> Iterator[tuple[list[str], list[Image.Image]]]:
    names: list[str] = []
    images: list[Image.Image] = []
    for path in track(paths, "predicting", transient=True):
        name = path.relative_to(base).as_posix()
        try:
            image = decode_rgb(path.read_bytes())
        except (OSError, UnreadableImage) as error:
            unreadable.append((name, str(error)))
            continue
        names.append(name)
        images.append(image)
        if len(images) == _BATCH:
            yield names, images
            names, images = [], []
    if images:
        yield names, images


def _write(folder: Path, name: str, answer: Predicted) -> dict[str, Any]:
    """Saves the drawing and the maps of one picture; its entry of the JSON file. The old suffix stays in the name, so
    that ``a.jpg`` and ``a.png`` do not meet.
    """
    target = folder / f"{name}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    answer.picture.save(target)
    files = {"drawing": f"{name}.png"}
    for kind, picture in answer.maps.items():
        files[kind] = f"{name}.{kind}.png"
        picture.save(folder / files[kind])
    return {"image": name, "size": list(answer.picture.size), **answer.record, "files": files}
