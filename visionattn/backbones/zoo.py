"""The backbones by name.

Each file in ``conf/backbone`` is one, for Hydra, for :func:`create_backbone` and for timm (``va_<name>``).
"""

from __future__ import annotations

import difflib
import fnmatch
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import DefaultCfg, PretrainedCfg, build_model_with_cfg, register_model
from torch import nn

from visionattn import config
from visionattn.config.catalog import choices, with_parts
from visionattn.errors import ConfigError

PREFIX = "va_"
default_cfgs: dict[str, DefaultCfg] = {}  # timm looks for this name in the module of an entry point


@cache
def backbone_files() -> Mapping[str, dict[str, Any]]:
    """Name -> what its YAML and the part of its family say, in alphabetical order."""
    return {name: with_parts("backbone", name) for name in choices("backbone")}


def list_backbones(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern such as ``"dinat*"``, sorted."""
    return fnmatch.filter(backbone_files(), pattern)


def create_backbone(
    name: str,
    num_classes: int = 1000,
    features_only: bool = False,
    weights: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    **kwargs: Any,
) -> nn.Module:
    """Builds a backbone, as ``timm.create_model`` does.

    Args:
        name: one of :func:`list_backbones`.
        num_classes: width of the classifier; 0: none.
        features_only: give a module that returns the list of feature maps ``(B, C, H, W)``; ``out_indices`` selects.
        weights: a state dict, see :func:`visionattn.load_weights`; or the path of a checkpoint or folder,
            ``"hf-hub:owner/name"``, a name of timm's, or ``"timm"``: what timm publishes for this model, fetched by
            timm (with a fresh classifier for another number of classes).
        overrides: changes as on the command line, relative to the backbone: ``("mixer@mixers.s3=window",
            "block.mlp_ratio=3")``.
        **kwargs: other arguments of the backbone (``in_chans``, ``drop_path_rate``, ...).

    Raises:
        ConfigError: an unknown name or override.
        CheckpointError: weights that do not fit.
    """
    if name not in backbone_files():
        near = difflib.get_close_matches(name, backbone_files(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(backbone_files())}"
        raise ConfigError(f"there is no backbone {name!r}; {hint}")
    model = timm.create_model(
        PREFIX + name, num_classes=num_classes, features_only=features_only, overrides=tuple(overrides), **kwargs
    )
    if weights is not None:
        from visionattn.weights import load_weights, open_source

        inner: Any = model.model if features_only else model
        if not isinstance(weights, Mapping):
            weights = open_source(weights, inner.card, inner.num_classes, inner.in_chans).state
        load_weights(inner, weights)
    return model


def compose_backbone(name: str, overrides: Sequence[str] = ()) -> Any:
    """The composed config of a backbone, as Hydra gives it under the key ``backbone``."""
    return config.compose("backbone_only", [f"backbone={name}", *map(_absolute, overrides)]).backbone


def _absolute(override: str) -> str:
    """An override of a backbone's own key as one of a whole configuration.

    ``mixer@mixers.s3=window`` -> ``mixer@backbone.mixers.s3=window``; ``drop_rate=0.1`` -> ``backbone.drop_rate=0.1``.
    """
    key, equals, value = override.partition("=")
    sign = key[: len(key) - len(key.lstrip("+~"))]
    group, at, package = key[len(sign) :].partition("@")
    return f"{sign}{group}@backbone.{package}{equals}{value}" if at else f"{sign}backbone.{group}{equals}{value}"


def _build(name: str, overrides: Sequence[str], architecture: Mapping[str, Any] | None, **kwargs: Any) -> nn.Module:
    node = architecture if architecture is not None else compose_backbone(name, overrides)
    return config.instantiate(node, **kwargs)


def _entrypoint(name: str, num_stages: int) -> Callable[..., nn.Module]:
    def build(
        pretrained: bool = False,
        overrides: Sequence[str] = (),
        architecture: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        return build_model_with_cfg(
            partial(_build, name, tuple(overrides), architecture),
            PREFIX + name,
            pretrained,
            feature_cfg={"out_indices": tuple(range(num_stages)), "feature_cls": "getter"},
            **kwargs,
        )

    build.__name__ = build.__qualname__ = PREFIX + name
    build.__module__ = __name__
    build.__doc__ = f"The backbone {name} of visionattn."
    return build


def _pretrained_cfg(card: Mapping[str, Any]) -> PretrainedCfg:
    size = tuple(card["input_size"])
    paper = card.get("paper") or {}
    return PretrainedCfg(
        input_size=size,
        num_classes=card.get("num_classes", 1000),
        pool_size=None,
        crop_pct=card.get("crop_pct", 0.9),
        crop_mode=card.get("crop_mode", "center"),
        interpolation="bicubic",
        mean=tuple(card.get("mean", IMAGENET_DEFAULT_MEAN)),
        std=tuple(card.get("std", IMAGENET_DEFAULT_STD)),
        first_conv="stem.conv1",
        classifier="head.fc",
        license=card.get("licence"),
        paper_ids=f"arXiv:{paper['arxiv']}" if "arxiv" in paper else None,
        paper_name=paper.get("title"),
    )


def register_with_timm() -> None:
    """Gives timm an entry point ``va_<name>`` for every backbone; called once, at the end of this module."""
    for name, contents in backbone_files().items():
        entrypoint = _entrypoint(name, len(contents["dims"]))
        default_cfgs[entrypoint.__name__] = DefaultCfg(tags=deque([""]), cfgs={"": _pretrained_cfg(contents["card"])})
        setattr(sys.modules[__name__], entrypoint.__name__, entrypoint)
        register_model(entrypoint)


register_with_timm()
