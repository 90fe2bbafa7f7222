"""The backbones by name.

Each file in ``conf/backbone`` is one, for Hydra, for :func:`create_backbone` and for timm (``va_<name>``).
"""

from __future__ import annotations

import fnmatch
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import DefaultCfg, PretrainedCfg, build_model_with_cfg, register_model
from torch import nn

from visionattn import config
from visionattn.backbones.trained import architecture_differences, backbone_name, classes_of, trained_backbone
from visionattn.config import check_allow
from visionattn.config.catalog import choices, with_parts
from visionattn.config.composing import as_override
from visionattn.config.messages import plain
from visionattn.errors import CheckpointError, ConfigError, did_you_mean
from visionattn.weights.timm_names import OURS

if TYPE_CHECKING:
    from visionattn.weights import Source

PREFIX = OURS
default_cfgs: dict[str, DefaultCfg] = {}  # timm looks for this name in the module of an entry point


@cache
def backbone_files() -> Mapping[str, dict[str, Any]]:
    """Name -> what its YAML and the part of its family say, in alphabetical order; ``timm`` is none of ours."""
    files = {name: with_parts("backbone", name) for name in choices("backbone")}
    return {name: contents for name, contents in files.items() if "dims" in contents}


def list_backbones(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern such as ``"dinat*"``, sorted."""
    return fnmatch.filter(backbone_files(), pattern)


def create_backbone(
    name: str | None,
    num_classes: int | None = None,
    features_only: bool = False,
    weights: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    pretrained: bool = False,
    mixers: str | Mapping[str, str] | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Builds a backbone, as ``timm.create_model`` does.

    Args:
        name: one of :func:`list_backbones`; None: the backbone of the run (or export) that ``weights`` names.
        num_classes: width of the classifier; 0: none; None: as many as the run of ``weights`` has, else 1000. Where the
            weights have another one, the classifier starts afresh, with a warning.
        features_only: give a module that returns the list of feature maps ``(B, C, H, W)``; ``out_indices`` selects.
        weights: a state dict; the path of a checkpoint or folder, ``"hf-hub:owner/name"``, a name of timm's; or
            ``"timm"``: what timm publishes for this model (with a fresh classifier for other classes).
        overrides: changes relative to the backbone: ``{"block.mlp_ratio": 3}`` or ``("block.mlp_ratio=3",)``.
        pretrained: the same as ``weights="timm"``.
        mixers: another one for all stages, ``"neighborhood"``, or for some, ``{"s3": "neighborhood"}``.
        **kwargs: other arguments of the backbone (``in_chans``, ``drop_path_rate``, ...).

    Raises:
        ConfigError: an unknown name or override.
        CheckpointError: weights that do not fit, or of a run whose backbone computes something else.
    """
    given, overrides = "timm" if pretrained and weights is None else weights, _in_words(overrides, mixers)
    source = _source_of(given, name, num_classes, kwargs)
    if name is None:
        name, kwargs = _named_by(source, overrides, kwargs)
    elif source is not None:
        _check_same(name, source, overrides, kwargs, str(given))
    classes = num_classes if num_classes is not None else 1000 if source is None else classes_of(source)
    arguments = {"num_classes": classes, "features_only": features_only, "overrides": overrides, **kwargs}
    model: Any = timm.create_model(PREFIX + name, **arguments)
    if given is not None:
        _load(model.model if features_only else model, source.state if source is not None else given)
    return model


def _open(weights: str, card: Mapping[str, Any] | None, num_classes: int, in_chans: int) -> Source:
    from visionattn.weights import open_source  # whose own import of timm registers this module

    return open_source(weights, card, num_classes, in_chans)


def _load(model: nn.Module, weights: Any) -> None:
    """Load weights, and warn of tables that were trained for another window, and of another number of classes."""
    from visionattn.weights import classifier_width, load_weights

    network: Any = model
    wanted = network.num_classes
    given = classifier_width(model, weights, absent=wanted) if wanted else 0
    if given != wanted:
        network.reset_classifier(given)
    report = load_weights(model, weights)
    if given != wanted:
        network.reset_classifier(wanted)
        text = f"the weights tell {given} classes apart, the model {wanted}: its classifier starts afresh"
        warnings.warn(text, stacklevel=3)
    tables = {name: sizes for name, sizes in report.resized.items() if not name.startswith("stem.")}
    if tables:
        name, (old, new) = next(iter(tables.items()))
        text = f"{len(tables)} position tables were resized to the model's windows, such as {name} from {old} to {new}"
        warnings.warn(text, stacklevel=3)


def _source_of(
    weights: str | Mapping[str, Any] | None, name: str | None, num_classes: int | None, kwargs: Mapping[str, Any]
) -> Source | None:
    """Where weights that are not given as tensors come from."""
    if name is not None:
        check_name(name)
    if weights is None or isinstance(weights, Mapping):
        return None
    card = backbone_files()[name]["card"] if name is not None else None
    return _open(weights, card, num_classes if num_classes is not None else 1000, kwargs.get("in_chans", 3))


def check_name(name: str) -> None:
    """Make sure that there is a backbone of that name.

    Raises:
        ConfigError: there is none; names the nearest one.
    """
    if name not in backbone_files():
        hint = did_you_mean(name, backbone_files()) or f"; known are {', '.join(backbone_files())}"
        raise ConfigError(f"there is no backbone {name!r}{hint}")


def _named_by(source: Source | None, overrides: Sequence[str], kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the backbone that weights were trained in."""
    name = backbone_name(source) if source is not None else None
    if source is None or name is None:
        raise ConfigError(
            "create_backbone(None) builds the backbone of a run or an export of visionattn: give weights=<it>"
        )
    if overrides:
        raise ConfigError("overrides= goes with a named backbone; create_backbone(None) builds that of the weights")
    check_name(name)
    trained = trained_backbone(source)
    return name, dict(kwargs) if trained is None else {"architecture": trained, **kwargs}


def _check_same(name: str, source: Source, overrides: Sequence[str], kwargs: Mapping[str, Any], weights: str) -> None:
    """Refuse weights of a run whose backbone computes something else.

    Raises:
        CheckpointError: names the differences, stage by stage.
    """
    trained = trained_backbone(source)
    if trained is None:
        return
    differing = architecture_differences(trained, {**plain(compose_backbone(name, overrides)), **kwargs})
    if differing:
        raise CheckpointError(
            f"the weights {weights} belong to another backbone than {name}: {'; '.join(differing)}. "
            f"create_backbone(None, weights={weights!r}) builds theirs; overrides= changes this one; "
            "visionattn.load_weights(model, path) loads them all the same"
        )


def compose_backbone(name: str, overrides: Sequence[str] = ()) -> Any:
    """The composed config of a backbone, as Hydra gives it under the key ``backbone``."""
    return config.compose("backbone_only", [f"backbone={name}", *map(_absolute, overrides)]).backbone


def _in_words(overrides: Sequence[str] | Mapping[str, Any], mixers: str | Mapping[str, str] | None) -> tuple[str, ...]:
    """Changes of a backbone in the words of the command line."""
    if isinstance(overrides, str):
        overrides = (overrides,)
    if isinstance(overrides, Mapping):
        overrides = [as_override(key, value) for key, value in overrides.items()]
    chosen = (
        {"mixer": mixers} if isinstance(mixers, str) else {f"mixers.{key}": one for key, one in (mixers or {}).items()}
    )
    return (*(f"{key}={name}" for key, name in chosen.items()), *overrides)


def _absolute(override: str) -> str:
    """An override of a backbone's own key as one of a whole configuration.

    ``mixer@mixers.s3=window`` -> ``mixer@backbone.mixers.s3=window``; ``drop_rate=0.1`` -> ``backbone.drop_rate=0.1``;
    ``mixer=window``, for all stages, stays.
    """
    key, equals, value = override.partition("=")
    if key == "mixer":
        return override
    sign = key[: len(key) - len(key.lstrip("+~"))]
    group, at, package = key[len(sign) :].partition("@")
    return f"{sign}{group}@backbone.{package}{equals}{value}" if at else f"{sign}backbone.{group}{equals}{value}"


_packages: ContextVar[tuple[str, ...]] = ContextVar("packages", default=())


@contextmanager
def allowed(*packages: str) -> Iterator[None]:
    """Let backbones have parts of the user's own packages, while the context lasts; no file can ask for that.

    Args:
        packages: as of ``allow=[my_package]`` on the command line.

    Raises:
        ConfigError: a package of Python's, Hydra's or ours.
    """
    token = _packages.set(check_allow(packages))
    try:
        yield
    finally:
        _packages.reset(token)


def _build(name: str, overrides: Sequence[str], architecture: Mapping[str, Any] | None, **kwargs: Any) -> nn.Module:
    node = architecture if architecture is not None else compose_backbone(name, overrides)
    return config.instantiate(node, allow=_packages.get(), **kwargs)


def _entrypoint(name: str, num_stages: int) -> Callable[..., nn.Module]:
    def build(
        pretrained: bool = False,
        overrides: Sequence[str] = (),
        architecture: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        ours = pretrained and not (kwargs.get("pretrained_cfg") or kwargs.get("pretrained_cfg_overlay"))
        model: Any = build_model_with_cfg(
            partial(_build, name, tuple(overrides), architecture),
            PREFIX + name,
            pretrained and not ours,
            feature_cfg={"out_indices": tuple(range(num_stages)), "feature_cls": "getter"},
            **kwargs,
        )
        if ours:  # the card names what timm publishes under its own name of this model
            inner = model.model if kwargs.get("features_only") else model
            _load(inner, _open("timm", inner.card, inner.num_classes, inner.in_chans).state)
        return model

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
        license=card.get("license"),
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
