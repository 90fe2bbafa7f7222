"""Which backbones have to be run, and which need only be counted.

Two published sizes of one family differ in numbers. Those whose YAML names the same building blocks have the same
structure, and the smallest of them stands for the others wherever something has to be computed.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from importlib import resources
from typing import Any

import timm
import torch
from torch import nn

import visionattn
from visionattn.backbones import zoo
from visionattn.config.catalog import read

NAMES = visionattn.list_backbones()
CONF = resources.files("visionattn.conf")


def targets(node: Any) -> set[str]:
    """Every ``_target_`` in a parsed YAML."""
    if isinstance(node, dict):
        own = {node["_target_"]} if "_target_" in node else set()
        return own.union(*map(targets, node.values()))
    return set().union(*map(targets, node)) if isinstance(node, list) else set()


def built(file: str) -> set[str]:
    """Every ``_target_`` in a file of conf/ and in those that it inherits."""
    contents = read(CONF / f"{file}.yaml")
    found, group = targets(contents), file.partition("/")[0]
    for entry in contents.get("defaults", ()):
        if isinstance(entry, dict):
            found |= built(f"{group}/{next(iter(entry.values()))}")
        elif entry.startswith("/"):
            found |= built(entry.lstrip("/").partition("@")[0])
    return found


def structure(name: str) -> frozenset[str]:
    """The building blocks of a backbone: what its YAML and the files in its defaults build, and the keys it sets."""
    contents = zoo.backbone_files()[name]
    chosen: dict[str, str] = {}
    for entry in contents["defaults"]:
        if isinstance(entry, dict):
            ((place, file),) = entry.items()
            chosen[place.removeprefix("override ").lstrip("/")] = file
    parts = targets(contents) | {f"{key}.{option}" for key in ("block", "stage") for option in contents.get(key, {})}
    parts |= {place.split("@")[0] for place in chosen if not place.startswith("mixer@")}
    return frozenset(parts.union(*(built(f"{place.split('@')[0]}/{file}") for place, file in chosen.items())))


def representatives() -> list[str]:
    """The smallest backbone of each structure."""
    smallest: dict[frozenset[str], str] = {}
    for name in sorted(NAMES, key=lambda name: zoo.backbone_files()[name]["card"]["params"]):
        smallest.setdefault(structure(name), name)
    return sorted(smallest.values())


REPRESENTATIVES = representatives()
CLUSTERED = [name for name in REPRESENTATIVES if name.startswith("boat_")]
"""Their clusters of tokens double in number as the map grows, and a near tie may put a token into another cluster."""


def precision(name: str) -> torch.dtype:
    """What results of a structure are compared in: float32's rounding decides near ties of clusters by chance."""
    return torch.float64 if name in CLUSTERED else torch.float32


def shallow(name: str) -> list[str]:
    """Overrides for at most two blocks a stage: every mechanism, little time."""
    return [f"depths={[min(depth, 2) for depth in zoo.backbone_files()[name]['depths']]}"]


def small(name: str, num_classes: int = 5, **kwargs: Any) -> Any:
    """The shallow model, built by timm as its users would; a copy of the one that was built before.

    Drawing the first weights takes most of the time of a build.
    """
    return copy.deepcopy(_built(name, num_classes, str(torch.get_default_device()), tuple(sorted(kwargs.items()))))


@lru_cache(maxsize=2)
def _built(name: str, num_classes: int, device: str, kwargs: tuple[tuple[str, Any], ...]) -> nn.Module:
    model: nn.Module = timm.create_model(f"va_{name}", num_classes=num_classes, overrides=shallow(name), **dict(kwargs))
    return model


@torch.no_grad()
def excited(model: nn.Module) -> nn.Module:
    """Random weights in every tensor, so that nothing is hidden by a zero."""
    for param in model.parameters():
        if param.ndim > 1:
            nn.init.normal_(param, std=min(0.1, 1.5 * param[0].numel() ** -0.5))
        else:
            param.add_(0.1 * torch.randn_like(param))
    return model
