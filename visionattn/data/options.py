"""Arguments that all data modules share, as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypedDict

import torch

from visionattn.data.decoding import Decoding, as_range
from visionattn.data.loading import LoaderOptions
from visionattn.errors import ConfigError


class EvalTransform(Protocol):
    """A transform of evaluation images, without randomness, that describes itself.

    Attributes:
        mean: of every channel, subtracted from values in 0..1.
        std: of every channel, by which they are divided.
    """

    @property
    def mean(self) -> Sequence[float]: ...

    @property
    def std(self) -> Sequence[float]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The image (and its target, where the task's data say so) as the loader gives it."""

    def describe(self) -> dict[str, Any]:
        """The protocol, for the evaluation's result file."""


class PixelOptions(TypedDict, total=False):
    """Options of how files become images; see :class:`visionattn.data.decoding.Decoding`.

    Attributes:
        in_chans: channels of the images (3).
        value_range: the stored values that become 0 and 255, of files with more than 8 bits.
        exif: ``auto``, ``apply`` or ``ignore``.
        page: the page of a file of several, or ``stack``.
    """

    in_chans: int
    value_range: Sequence[float] | None
    exif: str
    page: int | str


class LoadingOptions(LoaderOptions, PixelOptions, total=False):
    """Options of all loaders of a data module, and of how their images are read.

    Attributes:
        eval_batch_size: samples per process of val and test; None: ``batch_size``.
    """

    eval_batch_size: int | None


class DataOptions(LoadingOptions, total=False):
    """Arguments of :class:`VisionData` that its subclasses hand on."""

    mean: Sequence[float]
    std: Sequence[float]
    seed: int
    unreadable_budget: float
    root: str | None


def decoding_of(given: LoadingOptions) -> Decoding:
    """The decoding that the options state; they are taken out of ``given``.

    Raises:
        ConfigError: an impossible value.
    """
    return Decoding(
        channels=given.pop("in_chans", 3),
        value_range=as_range(given.pop("value_range", None)),
        exif=given.pop("exif", "auto"),
        page=given.pop("page", 0),
    )


def per_channel(values: Sequence[float], channels: int, key: str) -> tuple[tuple[float, ...], str]:
    """A mean or a standard deviation for every channel, and what was made of the given ones, as text.

    One number is that of every channel. Another number of values than channels gives their average for every channel.

    Raises:
        ConfigError: a standard deviation that is not above 0.
    """
    given = tuple(float(value) for value in values)
    if key == "std" and min(given, default=1.0) <= 0:
        raise ConfigError(f"data.std is above 0 for every channel, got {list(given)}")
    if len(given) == channels or not given:
        return given, ""
    average = sum(given) / len(given)
    note = f"data.{key} has {len(given)} values for {channels} channels: their average {average:.4g} is taken for each"
    return (average,) * channels, "" if len(given) == 1 else note


def at_least(least: int, name: str, value: int) -> int:
    """The value of ``data.<name>``.

    Raises:
        ConfigError: it is smaller than the least one that makes sense.
    """
    if value < least:
        raise ConfigError(f"data.{name} is {least} or more, got {value}")
    return value


def loader_options(given: LoadingOptions) -> LoaderOptions:
    """The options of a loader, with their defaults.

    Raises:
        TypeError: an unknown option.
        ConfigError: a negative number of workers.
    """
    at_least(0, "num_workers", given.get("num_workers", 0))
    unknown = sorted(given.keys() - LoaderOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"a data module takes no argument {', '.join(unknown)}")
    pins = given.get("pin_memory", False) and torch.accelerator.is_available()  # else there is nothing to copy to
    return {
        "num_workers": given.get("num_workers", 0),
        "pin_memory": pins,
        "prefetch_factor": given.get("prefetch_factor", 2),
        "timeout": given.get("timeout", 600.0),
    }


def check_shares(node: str, **values: Any) -> None:
    """Refuse probabilities and shares that are not between 0 and 1.

    Args:
        node: of the configuration, for the message.
        values: by name; those that are no numbers are left to others.

    Raises:
        ConfigError: names the key and the value.
    """
    for name, value in values.items():
        if isinstance(value, (int, float)) and not 0 <= value <= 1:
            raise ConfigError(f"{node}.{name} is a share from 0 to 1, not {value}")
