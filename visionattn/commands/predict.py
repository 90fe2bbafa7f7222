"""``visionattn predict``: what a trained model says about a user's own images, drawn, as CSV and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.data.user_images import UserImage, find_images
from visionattn.drawing.text import shortened
from visionattn.errors import ConfigError, DataError, counted
from visionattn.runs.predictions import Output, writing
from visionattn.runs.reading import ReadImages, check_options, predictions, told
from visionattn.runs.table import print_results
from visionattn.runs.talking import rate_in_words
from visionattn.runs.user_model import LARGEST_BATCH, on_device, output_folder, user_model
from visionattn.tasks.predict import Predicted, PredictsImages

_SHOWN, _WIDEST = 10, 40
_CHECKED = ("timeout", "megabytes", "batch_size", "options.top_k", "options.score")


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Predict on images: drawings or sheets, ``predictions.csv``, ``predictions.json`` and the task's usual forms.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``images`` and ``unreadable``, counted, ``classes`` (class -> how often), and ``folder``; empty for a dry run.

    Raises:
        CheckpointError: an unusable checkpoint.
        ConfigError: the task does not predict on images outside a data set, or the folder holds something already.
        DataError: no image at the source, or none that can be read.
    """
    seed_everything(0, verbose=False)
    check_options({key: OmegaConf.select(cfg, key) for key in _CHECKED})
    folder = output_folder(cfg, run_dir)
    task, data, model = user_model(cfg, policy, "predict")
    if not isinstance(task, PredictsImages):
        raise ConfigError(f"predict needs a task with predict_images; this checkpoint has a {type(task).__name__}")
    limits = {"timeout": cfg.timeout, "megabytes": cfg.megabytes}
    images = find_images(plain(cfg.source), recursive=cfg.recursive, without=folder, **limits)
    if dry_run:
        print_results("dry run: the model can be built; no image was read", {"images": len(images)})
        return {}
    on_device(task, cfg.device)
    output = Output(folder)
    reader = ReadImages(images, data, cfg.batch_size or min(data.eval_batch_size, LARGEST_BATCH))
    begun = time.perf_counter()
    try:
        for step in told(_counted(predictions(task, data, reader, plain(cfg.options)), reader, output), len(images)):
            with writing(folder):
                output.add(*step)
    except KeyboardInterrupt:
        _keep_part(task, output, model, reader)
        raise
    seconds = time.perf_counter() - begun
    files = _finish(task, output, model, reader)
    return _report(output, reader.unreadable, len(output.records) / seconds, files)


def _finish(task: PredictsImages, output: Output, model: str, reader: ReadImages) -> dict[str, Path]:
    """Write the files of all images; description -> file.

    Raises:
        DataError: there is none.
    """
    if not output.records:
        raise DataError(_nothing_read(reader.unreadable, len(reader.images)))
    with writing(output.folder):
        return output.finish(model, reader.unreadable) | task.prediction_files(output.folder, output.records)


def _keep_part(task: PredictsImages, output: Output, model: str, reader: ReadImages) -> None:
    """Write the files of the images that were predicted before somebody stopped the command, and say so."""
    if output.records:
        _finish(task, output, model, reader)
        done = f"{len(output.records):,} of {counted(len(reader.images), 'image')}"
        Console(stderr=True).print(f"{done} are predicted, see {output.folder}", highlight=False, markup=False)


def _counted(
    predicted: Iterable[tuple[UserImage, tuple[int, int], Predicted]], reader: ReadImages, output: Output
) -> Iterator[tuple[int, tuple[UserImage, tuple[int, int], Predicted]]]:
    """Each prediction with how many images are done with it."""
    for one in predicted:
        yield len(output.records) + len(reader.unreadable) + 1, one


def _nothing_read(unreadable: list[tuple[UserImage, str]], total: int) -> str:
    if total == 1:
        return f"{unreadable[0][0].origin} cannot be read: {unreadable[0][1]}"
    first = "; ".join(f"{image.origin}: {reason}" for image, reason in unreadable[:3])
    return f"none of the {total:,} images can be read: {first}{'; ...' if total > 3 else ''}"


def _report(
    output: Output, unreadable: list[tuple[UserImage, str]], rate: float, files: dict[str, Path]
) -> dict[str, Any]:
    """Print what came out, on stderr what could not be read, and return the figures."""
    console = Console(stderr=True)
    lines = [f"{image.origin} cannot be read: {reason}" for image, reason in unreadable[:_SHOWN]]
    if len(unreadable) > _SHOWN:
        lines.append(f"... and {len(unreadable) - _SHOWN:,} more, listed in {files['all predictions']}")
    for line in lines:
        console.print(_printable(line), highlight=False, markup=False, soft_wrap=True)
    facts: dict[str, Any] = {"images": f"{len(output.records):,}"}
    if unreadable:
        facts["unreadable"] = f"{len(unreadable):,}, not predicted"
    total = sum(output.counts.values())
    shown = output.counts.most_common(_SHOWN)
    facts |= {
        f"  {shortened(_printable(name), _WIDEST)}": f"{count:,} ({100 * count / total:.1f} %)" for name, count in shown
    }
    if len(output.counts) > _SHOWN:
        facts[f"  {counted(len(output.counts) - _SHOWN, 'more class', 'more classes')}"] = f"{total:,} in all"
    facts["images/s"] = rate_in_words(rate)
    print_results("predictions", facts, {"folder": output.folder, **files})
    figures = {"images": len(output.records), "unreadable": len(unreadable), "classes": dict(output.counts)}
    return {**figures, "folder": str(output.folder)}


def _printable(text: str) -> str:
    """A text that any terminal takes: file names may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()
