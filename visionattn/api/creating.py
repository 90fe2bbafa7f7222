"""``create_classifier``, ``create_detector`` and ``create_segmenter``: models for a plain PyTorch loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, TypeVar

from torch import nn

from visionattn import config
from visionattn.api.modules import ClassificationModel, DetectionModel, SegmentationModel, Vision
from visionattn.backbones.timm_backbone import TimmBackbone, timm_backbone
from visionattn.backbones.timm_network import timm_name
from visionattn.backbones.zoo import create_backbone, list_backbones
from visionattn.config.columns import names_for
from visionattn.config.composing import as_override
from visionattn.config.messages import nearest, open_keys, plain
from visionattn.data.normalize import IMAGENET_MEAN, IMAGENET_STD
from visionattn.errors import ConfigError

Built = TypeVar("Built", bound=Vision)
_NEEDED = ("feature_info", "forward_intermediates")


def create_classifier(
    backbone: str | nn.Module, classes: Sequence[str] | int, *, label_smoothing: float = 0.1, **options: Any
) -> ClassificationModel:
    """Build an image classifier: any backbone, pooling and a linear layer.

    ``model(images, targets)`` gives ``{"loss_classification": ...}`` in training, ``model(images)`` logits otherwise;
    see :class:`ClassificationModel`.

    Args:
        backbone: a name of :func:`visionattn.list_backbones` or of timm's, or a module with ``feature_info`` and
            ``forward_intermediates``, of your own or of :func:`visionattn.create_backbone`.
        classes: their names, in the order of the labels, or how many.
        label_smoothing: probability mass spread over all classes, in training.
        **options: for the name of a backbone, arguments of :func:`visionattn.create_backbone`: ``pretrained``,
            ``weights``, ``mixers``, ``overrides``, ``drop_path_rate`` ...

    Raises:
        ConfigError: an unknown name, or a module that is no backbone.
    """
    parts = _parts(backbone, "classification", "classification", {}, classes, options)
    return _built(ClassificationModel, parts, label_smoothing=label_smoothing)


def create_detector(
    backbone: str | nn.Module,
    head: str = "mask_rcnn",
    *,
    classes: Sequence[str] | int,
    head_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> DetectionModel:
    """Build a detector that is called as torchvision's are.

    ``model(images, targets)`` gives losses by name in training, ``model(images)`` boxes, scores, labels and masks
    otherwise; see :class:`DetectionModel`.

    Args:
        backbone: see :func:`create_classifier`.
        head: ``mask_rcnn``, ``faster_rcnn``, ``cascade_mask_rcnn``, ``cascade_rcnn``, ``retinanet`` or ``fcos``.
        classes: see :func:`create_classifier`; the background is none.
        head_options: keys of the head with other values, such as ``{"pyramid.channels": 128}``; ``visionattn keys``
            lists them.
        **options: see :func:`create_classifier`.

    Raises:
        ConfigError: an unknown name or key, or a module that is no backbone.
    """
    return _built(DetectionModel, _parts(backbone, head, "detection", head_options, classes, options))


def create_segmenter(
    backbone: str | nn.Module,
    head: str = "upernet",
    *,
    classes: Sequence[str] | int,
    head_options: Mapping[str, Any] | None = None,
    auxiliary_weight: float = 0.4,
    **options: Any,
) -> SegmentationModel:
    """Build a model for semantic segmentation.

    ``model(images, targets)`` gives losses by name in training, ``model(images)`` class maps otherwise; see
    :class:`SegmentationModel`.

    Args:
        backbone: see :func:`create_classifier`.
        head: ``upernet``, ``segformer``, ``semantic_fpn`` or ``segman``.
        classes: see :func:`create_classifier`.
        head_options: see :func:`create_detector`.
        auxiliary_weight: weight of the auxiliary head's loss, where the head has one.
        **options: see :func:`create_classifier`.

    Raises:
        ConfigError: an unknown name or key, or a module that is no backbone.
    """
    parts = _parts(backbone, head, "segmentation", head_options, classes, options)
    return _built(SegmentationModel, parts, auxiliary_weight=auxiliary_weight)


def _built(kind: type[Built], parts: tuple[Any, ...], **options: Any) -> Built:
    """The model; a head that does not fit the backbone, or a value that it does not take, is the user's mistake."""
    try:
        return kind(*parts, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _parts(
    backbone: str | nn.Module,
    head: str,
    task: str,
    head_options: Mapping[str, Any] | None,
    classes: Sequence[str] | int,
    options: dict[str, Any],
) -> tuple[nn.Module, Any, list[str], Sequence[float], Sequence[float]]:
    """The arguments of :class:`visionattn.api.modules.Vision`."""
    names = _names(classes)
    factory = _head(head, task, head_options or {})
    built = _backbone(backbone, options)
    card = getattr(built, "card", None) or {}
    return built, factory, names, card.get("mean") or IMAGENET_MEAN, card.get("std") or IMAGENET_STD


def _names(classes: Sequence[str] | int) -> list[str]:
    names = [str(label) for label in range(classes)] if isinstance(classes, int) else classes
    if isinstance(classes, bool) or isinstance(names, str) or not names:
        raise ConfigError(f"classes are the names of the classes, or how many there are, got {classes!r}")
    if len(set(names)) < len(names):
        raise ConfigError(f"classes={list(names)} has a name twice")
    return [str(name) for name in names]


def _backbone(backbone: str | nn.Module, options: dict[str, Any]) -> nn.Module:
    network = timm_name(backbone) if isinstance(backbone, str) else None
    if network is not None:
        return _of_timm(network, **options)
    if isinstance(backbone, str):
        return create_backbone(backbone, num_classes=0, **options)
    missing = [name for name in _NEEDED if not hasattr(backbone, name)]
    if not isinstance(backbone, nn.Module) or missing:
        raise ConfigError(
            f"backbone is a name such as {list_backbones()[0]}, or a module with {' and '.join(_NEEDED)}; "
            f"{type(backbone).__name__} has no {missing[0] if missing else 'parameters'}"
        )
    if options:
        raise ConfigError(f"{', '.join(options)} goes with the name of a backbone, not with a built one")
    return backbone


def _of_timm(network: str, *, pretrained: bool = False, weights: str | None = None, **options: Any) -> nn.Module:
    """A network of timm; ``create_backbone`` takes other options, whose mixers it has not."""
    own = [name for name in signature(TimmBackbone).parameters if name not in ("model", "num_classes", "card")]
    wrong = next((name for name in options if name not in own), None)
    if wrong is not None:
        known = ["pretrained", "weights", *own]
        raise ConfigError(
            f"a network of timm takes no {wrong}{nearest(wrong, known)} (it takes {', '.join(known)}; "
            "arguments={...} goes to timm.create_model)"
        )
    return timm_backbone(network, "timm" if pretrained else weights, **options)


def _head(name: str, task: str, options: Mapping[str, Any]) -> Any:
    known = names_for("head", task)
    if name not in known:
        raise ConfigError(f"there is no head {name!r} for {task}{nearest(name, known)} (heads: {', '.join(known)})")
    words = [as_override(f"head.{key}", value) for key, value in options.items()]
    node = config.compose("head_only", [f"head={name}", *words]).head
    left = next((key for key in open_keys(plain(node)) if not key.endswith(".backend")), None)
    if left is not None:
        raise ConfigError(f"head={name} leaves {left} open: give head_options={{{left!r}: VALUE}}")
    return config.instantiate(node)
