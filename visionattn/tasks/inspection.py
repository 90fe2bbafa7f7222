"""What a task offers to ``visionattn inspect``: images as the network sees them, and the score of one prediction.

Shapes: B batch, C channels, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from visionattn.data.decode import DecodedImage
from visionattn.errors import ConfigError


@dataclass(frozen=True)
class Scored:
    """The score of one prediction, a function of the backbone's maps.

    Attributes:
        score: a scalar, with its graph.
        about: what was predicted, in a few words.
        box: of a detection, left, top, right and bottom in pixels of the network's image.
        mask: of a segment, bool ``(h, w)``, spread over the network's image.
    """

    score: Tensor
    about: str
    box: tuple[float, float, float, float] | None = None
    mask: Tensor | None = None


@runtime_checkable
class InspectsImages(Protocol):
    """A task whose predictions can be traced back to an image."""

    def inspected_image(self, image: DecodedImage, data: Any) -> Tensor:
        """An image as the network sees it, normalized, ``(1, C, H, W)``.

        Args:
            image: decoded as ``data`` decodes its own.
            data: the data module of the run, built but not set up.
        """
        ...

    def inspected_score(
        self, features: Sequence[Tensor], images: Tensor, target: int | str | None, point: tuple[float, float]
    ) -> Scored:
        """The score of one prediction for one image.

        Args:
            features: the backbone's maps.
            images: what they were computed from, ``(1, C, H, W)``.
            target: which prediction, in the words of the task; None: the most certain one.
            point: (row, column) in shares of height and width, for tasks that predict at places.

        Raises:
            ConfigError: the model predicts no such thing.
        """
        ...


def above_mean(logits: Tensor) -> Tensor:
    """Logits ``(K, ...)`` above the mean of all classes: a summand that all classes share predicts nothing."""
    return logits - logits.mean(0, keepdim=True) if len(logits) > 1 else logits


def class_number(target: int | str | None, names: Sequence[str], count: int) -> int | None:
    """The number of a class that is given by number or name.

    Raises:
        ConfigError: there is no such class.
    """
    if target is None:
        return None
    if str(target) in names:
        return list(names).index(str(target))
    if str(target).isdigit() and int(target) < count:
        return int(target)
    name = next((one for one in names if not one.isdigit()), None)
    known = f"0 to {count - 1}" + (f", or a name such as {name}" if name else "")
    raise ConfigError(f"target={target} is no class of the model: a class is {known}")


def place_number(target: int | str | None, count: int, what: str) -> int:
    """The place in a list of predictions; 0 for None.

    Raises:
        ConfigError: there is none at this place.
    """
    if not count:
        raise ConfigError(f"the model predicts no {what} here, so that there is nothing to trace back")
    if target is None:
        return 0
    if not str(target).isdigit() or int(target) >= count:
        raise ConfigError(f"target={target} is no {what}: they are counted from 0, and there are {count}")
    return int(target)
