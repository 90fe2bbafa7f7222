"""ImageNet-1k's classes, their subsets, and the reference errors of ImageNet-C: from the tables that timm ships."""

from __future__ import annotations

from functools import cache
from importlib import resources

from timm.data import ImageNetInfo

from visionattn.errors import ConfigError

SUBSETS = ("imagenet-1k", "imagenet-a", "imagenet-r")

ALEXNET_ERRORS = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.2640,
    "defocus_blur": 81.9880,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.8360,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.7840,
    "jpeg_compression": 60.6500,
}
"""AlexNet's error in percent, mean of the five severities (Hendrycks and Dietterich 2019, arXiv 1903.12261)."""


@cache
def wordnet_ids() -> tuple[str, ...]:
    """ImageNet-1k's classes as WordNet ids, in the order of the labels."""
    return tuple(ImageNetInfo("imagenet-1k").label_names())


@cache
def subset_labels(name: str) -> tuple[int, ...]:
    """Labels of the classes of a subset, sorted.

    Raises:
        ConfigError: an unknown subset.
    """
    if name not in SUBSETS:
        raise ConfigError(f"classes {name!r} is not one of {', '.join(SUBSETS)}")
    if name == "imagenet-1k":
        return tuple(range(len(wordnet_ids())))
    lines = imagenet_table(f"{name.replace('-', '_')}_synsets.txt").split()
    return tuple(sorted(map(wordnet_ids().index, lines)))


def imagenet_table(name: str) -> str:
    """The contents of one of timm's files about ImageNet."""
    return (resources.files("timm.data") / "_info" / name).read_text(encoding="utf-8")
