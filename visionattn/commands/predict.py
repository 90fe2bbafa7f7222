"""``visionattn predict``: what a trained model predicts on a user's own images, drawn and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.data.decode import EXTENSIONS, decode_rgb
from visionattn.data.unreadable import UnreadableImage, UnreadableRecord
from visionattn.errors import ConfigError, DataError
from visionattn.runs.open import OpenedRun, open_run
from visionattn.runs.table import print_results
from visionattn.tasks.predict import Predicted, PredictsImages

_BATCH = 4


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Draw a model's predictions on images; write ``<name>.png`` for each, and ``predictions.json`` for all.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``images`` and ``unreadable``, counted, and ``folder``; empty for a dry run.

    Raises:
        CheckpointError: an unusable checkpoint.
        ConfigError: the checkpoint's task does not predict on images outside a data set.
        DataError: no image at the source, or none that can be read.
    """
    seed_everything(0, verbose=False)
    opened = open_run(cfg.ckpt, policy, hashed=False)
    if not isinstance(opened.task, PredictsImages):
        name = type(opened.task).__name__
        raise ConfigError(
            f"predict works for detection, segmentation and panoptic models; this checkpoint has a {name}"
        )
    paths, base = _images(Path(cfg.source).expanduser())
    if dry_run:
        print_results("dry run: the model can be built; no image was read", {"images": len(paths)})
        return {}
    folder = Path(cfg.dir) if cfg.dir else run_dir
    folder.mkdir(parents=True, exist_ok=True)
    unreadable: list[UnreadableRecord] = []
    batches = _batches(paths, base, unreadable)
    records = [_write(folder, name, size, one) for name, size, one in _predictions(opened, cfg, batches)]
    contents = {"checkpoint": str(opened.path), "images": records, "unreadable": [list(pair) for pair in unreadable]}
    (folder / "predictions.json").write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    for name, reason in unreadable:
        Console(stderr=True).print(f"{name} cannot be read: {reason}", highlight=False, markup=False, soft_wrap=True)
    if not records:
        raise DataError(f"none of the {len(paths)} images at {cfg.source} can be read")
    facts = {"images": len(records), "unreadable": len(unreadable)}
    print_results("predictions", facts, {"folder": folder, "all predictions": folder / "predictions.json"})
    return {**facts, "folder": str(folder)}


def _predictions(
    opened: OpenedRun, cfg: DictConfig, batches: Iterable[tuple[list[str], list[Image.Image]]]
) -> Iterator[tuple[str, tuple[int, int], Predicted]]:
    """Name, size and prediction of every image."""
    task, data = opened.task, opened.data()
    assert isinstance(task, PredictsImages)
    task.to(torch.device(cfg.device or ("cuda" if torch.cuda.is_available() else "cpu"))).eval()
    options: dict[str, Any] = plain(cfg.options)
    for names, images in batches:
        with torch.inference_mode():
            predicted = task.predict_images(images, data, options)
        yield from zip(names, [image.size for image in images], predicted, strict=True)


def _images(source: Path) -> tuple[list[Path], Path]:
    """The image files at a source, and the folder that their names are relative to."""
    if source.is_file():
        return [source], source.parent
    if not source.is_dir():
        raise DataError(f"source={source} is neither an image nor a folder")
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    if not paths:
        raise DataError(f"there is no image below {source} ({', '.join(sorted(EXTENSIONS))})")
    return paths, source


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


def _write(folder: Path, name: str, size: tuple[int, int], predicted: Predicted) -> dict[str, Any]:
    """Save the drawing and the maps of one image; its entry of the JSON file.

    The old suffix stays in the name, so that ``a.jpg`` and ``a.png`` do not meet.
    """
    output = folder / f"{name}.png"
    output.parent.mkdir(parents=True, exist_ok=True)
    predicted.image.save(output)
    files = {"drawing": f"{name}.png"}
    for kind, image in predicted.maps.items():
        files[kind] = f"{name}.{kind}.png"
        image.save(folder / files[kind])
    return {"image": name, "size": list(size), **predicted.record, "files": files}
