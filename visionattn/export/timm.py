"""``format=timm``: a folder that timm and the Hugging Face Hub take as it is.

Where timm has the architecture, the model is timm's own, under timm's names, and visionattn is not needed to load it.
Elsewhere it is ``va_<name>``, which timm knows after ``import visionattn``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from omegaconf import DictConfig, OmegaConf
from timm.models import save_for_hf
from torch import Tensor, nn

from visionattn.backbones import zoo
from visionattn.errors import CheckpointError, ConfigError
from visionattn.export.card import license_of, write_model_card
from visionattn.export.model import TOLERANCE, ExportedModel, check_classification, relative_error
from visionattn.export.score import score_facts
from visionattn.export.timm_networks import as_timm_builds_it, error_of_features, network_of
from visionattn.weights import load_weights
from visionattn.weights.timm_counterpart import Twin, all_twins, obstacles, put_into

_BUILD_ONLY = ("num_classes", "in_chans", "drop_path_rate", "drop_rate", "card")
NAMES = ("auto", "timm", "visionattn")


def write(exported: ExportedModel, folder: Path, dry_run: bool) -> dict[str, Any]:
    """Write ``config.json``, ``model.safetensors``, ``README.md`` and the learning curves, and load them again.

    With ``options.names=auto`` a model that timm's own class cannot express, or computes otherwise, is written under
    visionattn's names instead, and the facts say why.

    Returns:
        Facts for the final table; ``relative_error`` and ``relative_error_features`` as numbers.

    Raises:
        ConfigError: a task or a backbone that cannot be written so.
        CheckpointError: what was written does not give the same logits and features.
    """
    check_classification(exported, "timm")
    wanted = str(exported.options.names)
    if wanted not in NAMES:
        raise ConfigError(f"options.names must be one of {', '.join(NAMES)}, got {wanted!r}")
    own = exported.opened.policy.allow
    with zoo.allowed(*own):
        facts = _write_as(exported, folder, dry_run, wanted)
    if own and "use" in facts:
        packages = ", ".join(map(repr, own))
        facts["use"] += f"  # inside: with visionattn.backbones.zoo.allowed({packages}):"
    return facts


def _write_as(exported: ExportedModel, folder: Path, dry_run: bool, wanted: str) -> dict[str, Any]:
    """Write under the names that are wanted; of ``auto`` timm's, else visionattn's."""
    if wanted != "auto" or network_of(exported) is not None:
        return _write(exported, folder, dry_run, wanted)
    try:
        return _write(exported, folder, dry_run, wanted)
    except (ConfigError, CheckpointError) as error:
        if find_counterpart(exported.trained)[0] is None and not _family_in_timm(exported.trained):
            raise  # these were visionattn's names already
        for path in folder.iterdir() if not dry_run else ():
            path.unlink()
        facts = _write(exported, folder, dry_run, "visionattn")
        return facts | {"names": f"visionattn's, as timm's would not do: {error}"}


def _write(exported: ExportedModel, folder: Path, dry_run: bool, wanted: str) -> dict[str, Any]:
    """Write under timm's or under visionattn's names; arguments, result and errors as for :func:`write`."""
    model, names, arguments = to_timm(exported, wanted)
    facts: dict[str, Any] = {"architecture": architecture_of(model), "names": names}
    if dry_run:
        return facts
    evaluation, published = exported.trained.data.eval_transform, pretrained_cfg_of(model)
    channels = _channels(exported).get("in_chans", 3)
    preprocessing: dict[str, Any] = {
        "input_size": (channels, *exported.image_size),
        "mean": tuple(exported.preparation.mean),
        "std": tuple(exported.preparation.std),
        "crop_pct": evaluation.crop_pct,
        "crop_mode": evaluation.crop_mode,
        "interpolation": evaluation.interpolation,
    }
    if tuple(published.get("input_size", ())[1:]) != tuple(exported.image_size):
        published.pop("pool_size", None)
    for key in ("tag", "test_input_size", "test_crop_pct", "test_pool_size"):
        published.pop(key, None)  # what was recommended for the published weights
    if channels != 3:
        published.pop("first_conv", None)  # timm would make the first layer over, as if it were for three channels
    published.update(preprocessing, license=license_of(exported)[0])
    described = {"label_names": exported.class_names} if exported.class_names else {}
    save_for_hf(model, str(folder), model_config=described, model_args=arguments, safe_serialization=True)
    images, origin = exported.images
    logits, features, copy = compare(exported, folder, images)
    facts |= {
        "compared on": origin,
        "relative error of the logits": f"{logits:.1e} (allowed {TOLERANCE:.0e})",
        "relative error of the features": f"{features:.1e} (allowed {TOLERANCE:.0e})",
    }
    facts |= score_facts(exported, copy.forward)
    imported = "timm, visionattn" if facts["architecture"].startswith(zoo.PREFIX) else "timm"
    told = {name: value for name, value in facts.items() if isinstance(value, str)}
    write_model_card(folder, exported, told, imported)
    facts["use"] = f'import {imported}; timm.create_model("local-dir:{folder}", pretrained=True)'
    return facts | {"relative_error": logits, "relative_error_features": features}


def architecture_of(model: nn.Module) -> str:
    """Name of a model in timm."""
    return str(pretrained_cfg_of(model)["architecture"])


def pretrained_cfg_of(model: nn.Module) -> dict[str, Any]:
    """Facts that timm keeps about a model; changes to them are kept."""
    published: dict[str, Any] = getattr(model, "pretrained_cfg")  # noqa: B009 - nn.Module's type gives a tensor
    return published


def to_timm(exported: ExportedModel, wanted: str) -> tuple[nn.Module, str, dict[str, Any]]:
    """Backbone and classifier of a task as one timm model, in words whose names it has, and its own arguments.

    Raises:
        ConfigError: the task has another head, or no such model can express the backbone.
    """
    network = network_of(exported)
    if network is not None:
        theirs, own = as_timm_builds_it(exported, network, wanted)
        return theirs, "timm's own", own
    counterpart, reasons = (None, []) if wanted == "visionattn" else find_counterpart(exported.trained)
    if counterpart is None and (wanted == "timm" or (wanted == "auto" and _family_in_timm(exported.trained))):
        raise ConfigError(
            f"timm cannot express this {exported.trained.backbone_name}: {'; '.join(reasons[:4])}"
            f"{f'; and {len(reasons) - 4} more' if len(reasons) > 4 else ''}. "
            f"options.names=visionattn exports it as va_{exported.trained.backbone_name}, which timm knows after "
            "`import visionattn`"
        )
    ours, arguments = _ours(exported)
    if counterpart is None:
        words = f"visionattn's ({'asked for' if wanted == 'visionattn' else 'timm has no such model'})"
        return ours.eval(), words, arguments
    entry_point = _entry_point(counterpart, exported.trained.backbone_name)
    arguments = counterpart.arguments(plain(exported.trained.backbone), exported.image_size) | _channels(exported)
    theirs = timm.create_model(entry_point, num_classes=exported.num_classes, **arguments)
    put_into(theirs, ours.state_dict())
    return theirs.eval(), f"timm's own ({counterpart.title})", arguments


def _channels(exported: ExportedModel) -> dict[str, int]:
    """``in_chans`` as an argument, where it is not timm's default."""
    channels = int(exported.trained.backbone.get("in_chans", 3))
    return {} if channels == 3 else {"in_chans": channels}


def find_counterpart(trained: DictConfig) -> tuple[Twin | None, list[str]]:
    """The model of timm for a backbone, or None and what the most similar of timm's models cannot do."""
    ours = plain(trained.backbone)
    tried = [
        (counterpart, obstacles(counterpart, ours, plain(zoo.compose_backbone(counterpart.like))))
        for counterpart in all_twins()
    ]
    counterpart, reasons = min(tried, key=lambda pair: len(pair[1]))
    return (None, reasons) if reasons else (counterpart, [])


def _family_in_timm(trained: DictConfig) -> bool:
    """Whether timm has the backbone as it is published, though perhaps not as it was changed."""
    name = trained.backbone_name
    if name not in zoo.list_backbones():
        return False
    published = plain(zoo.compose_backbone(name))
    return any(
        not obstacles(counterpart, published, plain(zoo.compose_backbone(counterpart.like)))
        for counterpart in all_twins()
    )


def _entry_point(counterpart: Twin, name: str) -> str:
    """Name in timm of the published backbone, where it is one, else that of the family's example."""
    card = (zoo.backbone_files().get(name) or {}).get("card") or {}
    published = ((card.get("weights") or {}).get("timm") or "").partition(".")[0]
    return published if published and timm.is_model(published) else counterpart.architecture


def _ours(exported: ExportedModel) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model as ``va_<name>``, and its arguments beside the number of classes."""
    name = exported.trained.backbone_name
    if name not in zoo.list_backbones():
        raise ConfigError(f"format=timm exports visionattn's backbones; {name!r} is not one of them")
    ours = plain(exported.trained.backbone)
    changed: dict[str, Any] = {} if ours == plain(zoo.compose_backbone(name)) else {"architecture": ours}
    arguments = changed | _channels(exported)
    model = timm.create_model(zoo.PREFIX + name, num_classes=exported.num_classes, **arguments)
    load_weights(model, exported.task.state_dict())
    return model, arguments


def plain(node: DictConfig) -> dict[str, Any]:
    """A backbone's configuration without what differs from run to run."""
    contents = OmegaConf.to_container(node, resolve=True)
    assert isinstance(contents, dict)
    return {str(key): value for key, value in contents.items() if key not in _BUILD_ONLY}


@torch.no_grad()
def compare(exported: ExportedModel, folder: Path, images: Tensor) -> tuple[float, float, nn.Module]:
    """Relative errors of the written model's logits and features, and the model, loaded the way a user loads it.

    Raises:
        CheckpointError: one of them is too large.
    """
    copy: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    network = network_of(exported)
    try:
        logits = relative_error(exported.task(images), copy(images))
        features = _of_maps(exported, copy, images) if network is None else error_of_features(network, copy, images)
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"timm's model refuses the images of this run: {error}") from error
    for what, deviation in (("logits", logits), ("features", features)):
        if not deviation <= TOLERANCE:
            raise CheckpointError(
                f"the exported model differs: relative error {deviation:.1e} of the {what}, allowed {TOLERANCE:.0e}; "
                "where windows do not divide a map, timm's shifted windows compute something else: "
                "use options.names=visionattn"
            )
    return logits, features, copy


def _of_maps(exported: ExportedModel, copy: Any, images: Tensor) -> float:
    """Relative error of the stages' maps."""
    backbone: Any = exported.task.backbone
    maps = backbone.forward_intermediates(images, intermediates_only=True)
    last, (their_last, theirs) = backbone.forward_features(images), copy.forward_intermediates(images)
    if getattr(copy, "output_fmt", "NCHW") == "NHWC":
        their_last = their_last.permute(0, 3, 1, 2)
    pairs = [*zip(maps[:-1], theirs[-len(maps) : -1], strict=True), (last, their_last)]  # timm norms the last map
    return max(relative_error(a, b) for a, b in pairs)
