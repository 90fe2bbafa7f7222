"""Pretrained weights: as the start of a training, or as a model that is evaluated without any run of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from omegaconf import DictConfig
from rich.console import Console
from timm.data import resolve_data_config
from timm.models import get_pretrained_cfg

from visionattn.backbones import zoo
from visionattn.backbones.timm_network import check_timm_name
from visionattn.backbones.trained import architecture_differences, trained_backbone
from visionattn.config import BuildPolicy
from visionattn.config.messages import plain
from visionattn.config.stored import parse_config
from visionattn.data.classes import ClassInfo
from visionattn.errors import CheckpointError, ConfigError
from visionattn.heads import LogitsHead
from visionattn.runs.protocol import differences, in_words, protocol_of_run
from visionattn.runs.trained_otherwise import check_head, differences_from_training
from visionattn.tasks import ClassificationTask
from visionattn.training.task import VisionTask
from visionattn.weights import Report, Source, classifier_width, load_model, load_weights, open_source
from visionattn.weights.from_timm import check_published
from visionattn.weights.sources import ENDINGS, check_source, weights_file

PARTS = ("backbone", "model")
PROTOCOL = ("image_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")


def load_pretrained(
    task: VisionTask, weights: str, part: str = "backbone", class_names: Callable[[], Sequence[str]] | None = None
) -> Report:
    """Put pretrained weights into a task.

    Args:
        task: freshly built.
        weights: a file in our naming, timm's or the official one; a folder of one of our runs or in the Hub's form;
            ``hf-hub:owner/name``; ``timm``: what the backbone's card names; or ``timm:<name>``, another of timm's, such
            as ``timm:swin_base_patch4_window12_384.ms_in22k``. See :func:`visionattn.weights.open_source`.
        part: ``backbone``: the head starts fresh; ``model``: the head takes its weights too, but for those of another
            number of classes.
        class_names: gives the names of the task's classes, for those of weights of ours to be compared with; called
            once the weights fit. None: they are not compared.

    Returns:
        What was taken, resized, left out, what starts fresh, and what the model computes otherwise than the one that
        the weights were trained in.

    Raises:
        ConfigError: the backbone is not one of ours, which weights could be converted for, or no such part.
        CheckpointError: weights that do not fit, cannot be read, or cannot be fetched; or of a run whose boxes are of
            another ``head.convention``.
    """
    if part not in PARTS:
        raise ConfigError(f"weights_part is one of {', '.join(PARTS)}, not {part!r}")
    if not hasattr(task.backbone, "card"):
        raise ConfigError(f"weights= needs a backbone of visionattn, not a {type(task.backbone).__name__}")
    whole = part == "model"
    with _named(weights):
        source = open_source(weights, task.backbone.card, None if whole else 0, getattr(task.backbone, "in_chans", 3))
        if whole:
            check_head(source, task.head)
        taking = partial(load_model, task.backbone, task.head) if whole else partial(load_weights, task.backbone)
        report = taking(source.state).beside(*source.found.around)
    if not whole:
        report.fresh += [f"head.{name} {tuple(tensor.shape)}" for name, tensor in task.head.state_dict().items()]
    report.different = differences_from_training(source, task.config_text, whole, class_names)
    return report


@contextmanager
def _named(weights: str) -> Iterator[None]:
    """Name the weights in a refusal that does not."""
    try:
        yield
    except CheckpointError as error:
        if weights not in str(error):
            error.args = (f"weights={weights}: {error}",)
        raise


def start_from(
    task: VisionTask, weights: str, part: str, tell: bool, class_names: Callable[[], Sequence[str]] | None = None
) -> str:
    """Load pretrained weights as :func:`load_pretrained`, print what was taken, and sum it up in one line.

    Args:
        task: freshly built.
        weights: see :func:`load_pretrained`.
        part: ``backbone`` or ``model``.
        tell: whether this process prints.
        class_names: see :func:`load_pretrained`.
    """
    report = load_pretrained(task, weights, part, class_names)
    summary, console = f"{weights}: {report.summary()}", Console(quiet=not tell)
    console.print(f"weights from {summary}", highlight=False, markup=False, soft_wrap=True)
    for line in report.lines():
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if report.different:
        note = "  THE WEIGHTS WERE TRAINED IN ANOTHER WAY than this model uses them:"
        for line in (note, *(f"  DIFFERENT: {one}" for one in report.different)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        summary += f"; trained in another way: {'; '.join(report.different)}"
    return summary


def check_weights(
    task: VisionTask, cfg: DictConfig, tell: bool = False, class_names: Callable[[], Sequence[str]] | None = None
) -> None:
    """Refuse what :func:`start_from` would refuse, without fetching anything; out of reach is told within seconds.

    A file on this machine is read and compared with the task, which may have no memory of its own (device ``meta``).

    Args:
        task: freshly built.
        cfg: of the training.
        tell: print what would be taken of a file on this machine.
        class_names: see :func:`load_pretrained`.

    Raises:
        CheckpointError: no such file, weights that do not fit, none published by timm for this backbone, or neither in
            the cache nor to be fetched.
        ConfigError: see :func:`load_pretrained`.
    """
    text = str(cfg.weights)
    if weights_file(text) is not None or text.endswith(ENDINGS) or Path(text).is_dir():
        start_from(task, text, cfg.weights_part, tell, class_names)
    else:
        _check_pretrained(cfg)
        check_source(text, plain(cfg.backbone.get("card")) or {})


@dataclass
class PretrainedModel:
    """A model with weights that no run of this command trained, ready to be scored.

    Attributes:
        task: around the backbone and its own classifier.
        protocol: how its images are made, as keys of ``data``.
        facts: what is told about weights and protocol.
    """

    task: ClassificationTask
    protocol: dict[str, Any]
    facts: dict[str, str]


def pretrained_task(cfg: DictConfig, policy: BuildPolicy) -> PretrainedModel:
    """Build a task around ``cfg.backbone`` with the weights ``cfg.weights``, and the protocol that belongs to them.

    The number of classes is that of the weights. ``weights=timm`` takes what timm publishes for the backbone and timm's
    own protocol; so does a folder or a repository in the Hub's form. Weights of a run of ours bring the run's protocol.
    Any other file takes the protocol of the backbone's card. See :func:`visionattn.weights.open_source`.

    Raises:
        ConfigError: no backbone, or no weights.
        CheckpointError: weights that do not fit, cannot be read, or cannot be fetched; or of a run whose backbone
            computes something else.
    """
    if cfg.get("backbone") is None or cfg.weights is None:
        raise ConfigError(
            "evaluate needs ckpt=<checkpoint of a run>, or a model: backbone=swin_tiny weights=timm (or weights=<file>)"
        )
    _check_pretrained(cfg)
    _check_classifier(cfg)
    weights, card = str(cfg.weights), _card_facts(cfg)
    with _named(weights):
        source = open_source(weights, plain(cfg.backbone.get("card")) or {}, in_chans=cfg.backbone.get("in_chans", 3))
    _check_same(cfg, source)
    published = dict(source.facts) or card
    model = policy.instantiate(cfg.backbone, num_classes=published.get("num_classes") or 1000)
    with _named(weights):
        model.reset_classifier(classifier_width(model, source.state))
        report = load_weights(model, source.state).beside(*source.found.around)
    task = _task_around(model)
    task.class_info = ClassInfo(names=list(source.class_names))
    by_card = as_data_keys(protocol_of(card))
    protocol, owner = as_data_keys(protocol_of(published)), "the card's" if not source.facts else "that of the weights"
    if source.config is not None:
        protocol, owner = protocol_of_run(parse_config(source.config, source.origin).data), "the run's own"
    told = in_words(differences(by_card, protocol)) if card else []
    facts = {"tensors": ", ".join([report.summary(), *report.lines()])}
    facts["preprocessing"] = f"{owner} way" + (f" (unlike the card: {', '.join(told)})" if told else "")
    return PretrainedModel(task, protocol, facts)


def untrained_task(cfg: DictConfig, policy: BuildPolicy) -> PretrainedModel:
    """A task around ``cfg.backbone`` as it is built, with the protocol of the backbone's card."""
    card = _card_facts(cfg)
    seed_everything(0, verbose=False)
    model = policy.instantiate(cfg.backbone, num_classes=card.get("num_classes") or 1000)
    return PretrainedModel(_task_around(model), as_data_keys(protocol_of(card)), {})


def _task_around(model: Any) -> ClassificationTask:
    """A task whose head is the backbone's own classifier."""
    return ClassificationTask(
        model,
        lambda feature_info, num_classes: LogitsHead(model.head),
        partial(torch.optim.AdamW),
        num_classes=model.num_classes,
        monitor="val/top1",
    )


def _check_same(cfg: DictConfig, source: Source) -> None:
    """Refuse weights of a run whose backbone computes something else than the one that is to be scored.

    Raises:
        CheckpointError: names the differences, stage by stage.
    """
    trained = trained_backbone(source)
    differing = [] if trained is None else architecture_differences(trained, plain(cfg.backbone))
    if differing:
        raise CheckpointError(
            f"weights={cfg.weights} belongs to another backbone than {cfg.backbone_name}: {'; '.join(differing)}; "
            f"a run is scored as it was trained by `visionattn evaluate ckpt={cfg.weights}`"
        )


def as_data_keys(protocol: dict[str, Any]) -> dict[str, Any]:
    """A protocol with the keys :data:`PROTOCOL` as keys of ``data``."""
    inner = ("crop_pct", "crop_mode", "interpolation")
    outer = {name: value for name, value in protocol.items() if name not in inner}
    return outer | {"eval_transform": {name: protocol[name] for name in inner}}


def protocol_of(facts: dict[str, Any]) -> dict[str, Any]:
    """How timm's ``validate.py`` would prepare images for a model with these facts (timm's ``pretrained_cfg``)."""
    config = resolve_data_config(pretrained_cfg=facts, use_test_size=True, verbose=False)
    return {"image_size": list(config["input_size"][1:])} | {
        name: list(config[name]) if name in ("mean", "std") else config[name] for name in PROTOCOL[1:]
    }


def _check_pretrained(cfg: DictConfig) -> None:
    """Refuse ``weights=timm`` for a backbone that timm has no weights of, before anything is fetched."""
    name = _name_in_timm(cfg)
    if cfg.weights == "timm" and name is None:
        raise CheckpointError(
            f"timm publishes no weights for the backbone {cfg.backbone_name}; weights=<file> takes one"
        )
    if cfg.weights == "timm":
        check_timm_name(str(name))  # with the nearest name
        check_published(str(name))


def _check_classifier(cfg: DictConfig) -> None:
    """Refuse ``weights=timm`` of a network that timm publishes without a classifier, before anything is fetched."""
    name = _name_in_timm(cfg)
    published = get_pretrained_cfg(name) if cfg.weights == "timm" and name is not None else None
    if published is not None and not published.num_classes:
        raise CheckpointError(
            f"timm publishes {name} without a classifier; train one on it: "
            f"visionattn train backbone=timm/{name} weights=timm data=..."
        )


def _name_in_timm(cfg: DictConfig) -> str | None:
    """What the card names as timm's weights of the backbone."""
    name: str | None = ((cfg.backbone.get("card") or {}).get("weights") or {}).get("timm")
    return name


def _card_facts(cfg: DictConfig) -> dict[str, Any]:
    """The facts of our card, in timm's form; of a network that is not ours those that timm has itself."""
    known = zoo.default_cfgs.get(zoo.PREFIX + str(cfg.backbone_name))
    if known is not None:
        return known.cfgs[""].to_dict()
    name = _name_in_timm(cfg)
    published = get_pretrained_cfg(name) if name is not None else None
    return published.to_dict() if published is not None else {}
