"""A user's own images read ahead of the model, what it predicts on them, and how far it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral, Real
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from visionattn.data.classification.dataset import decoder_of
from visionattn.data.decode import DecodedImage
from visionattn.data.orientation import size_of
from visionattn.data.unreadable import UnreadableImage
from visionattn.data.user_images import UserImage
from visionattn.errors import ConfigError
from visionattn.runs.talking import rate_in_words
from visionattn.tasks.predict import Predicted, PredictsImages

_SECONDS = 10
_RULES: dict[str, tuple[str, type, Callable[[Any], bool]]] = {
    "score": ("between 0 and 1", Real, lambda value: 0 <= value <= 1),
    "top_k": ("a whole number from 1 on", Integral, lambda value: value >= 1),
    "batch_size": ("a whole number from 1 on", Integral, lambda value: value >= 1),
    "timeout": ("above 0", Real, lambda value: value > 0),
    "megabytes": ("above 0", Real, lambda value: value > 0),
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse impossible options of a prediction.

    Args:
        options: as the user names them, ``score`` or ``options.score``; one of None is left to the program.

    Raises:
        ConfigError: names the option, its value and what it may be.
    """
    for key, value in options.items():
        words, kind, fits = _RULES[key.rpartition(".")[2]]
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or not fits(value)):
            raise ConfigError(f"{key} is {words}, got {value!r}")


@dataclass
class ReadImages:
    """Images in batches, decoded as a data module decodes its own; those that cannot be read are collected.

    Args:
        images: what to read.
        data: the data module.
        batch_size: images of a batch.
        workers: threads that read ahead.

    Attributes:
        unreadable: the images that could not be read so far, each with the reason.
    """

    images: Sequence[UserImage]
    data: Any
    batch_size: int
    workers: int = 4
    unreadable: list[tuple[UserImage, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[list[tuple[UserImage, DecodedImage]]]:
        batch: list[tuple[UserImage, DecodedImage]] = []
        for image, answer in _ahead(self.workers, 2 * self.batch_size + self.workers, self._read, self.images):
            try:
                batch.append((image, answer.result()))
            except UnreadableImage as error:
                self.unreadable.append((image, str(error)))
                continue
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _read(self, image: UserImage) -> DecodedImage:
        decoded: DecodedImage = self.data.decoding(image.read(), base=decoder_of(self.data.eval_transform))
        return decoded


def _ahead(workers: int, most: int, read: Any, images: Iterable[UserImage]) -> Iterator[tuple[UserImage, Future[Any]]]:
    """Images and what reads them, in order; at most ``most`` are read and not taken."""
    waiting: deque[tuple[UserImage, Future[Any]]] = deque()
    left = iter(images)
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting.extend((image, pool.submit(read, image)) for image in islice(left, most))
            while waiting:
                yield waiting.popleft()
                waiting.extend((image, pool.submit(read, image)) for image in islice(left, 1))
        finally:
            for _, answer in waiting:
                answer.cancel()


def predictions(
    task: PredictsImages, data: Any, reader: ReadImages, options: Mapping[str, Any]
) -> Iterator[tuple[UserImage, tuple[int, int], Predicted]]:
    """Of every image that can be read itself, its (width, height) and what the task predicts.

    Args:
        task: with weights, in evaluation mode.
        data: its data module.
        reader: the images.
        options: of the task, see :meth:`PredictsImages.predict_images`.
    """
    for batch in reader:
        with torch.inference_mode():
            predicted = task.predict_images([decoded for _, decoded in batch], data, options)
        for (image, decoded), one in zip(batch, predicted, strict=True):
            height, width = size_of(decoded)
            yield image, (width, height), one


def told(steps: Iterable[tuple[int, Any]], total: int) -> Iterator[Any]:
    """Pass items on with a progress bar, or with a line every ten seconds where the output is no terminal.

    Args:
        steps: how many of ``total`` are done once the item is dealt with, and the item.
        total: how many there are.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("predicting", total=total)
            for done, item in steps:
                yield item
                progress.update(bar, completed=done)
        return
    begun = shown = time.monotonic()
    for done, item in steps:
        yield item
        now = time.monotonic()
        if now - shown > _SECONDS:
            shown = now
            rate = rate_in_words(done / (now - begun))
            console.print(f"{done:,} of {total:,} images, {rate} images/s", highlight=False, soft_wrap=True)
