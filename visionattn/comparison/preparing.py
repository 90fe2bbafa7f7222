"""From composed configurations to the plan of a comparison: all is built and matched before anything trains."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from visionattn.comparison.building import FAULTS, Model, checked, inferred, with_keys
from visionattn.comparison.entries import CHANGES, Entry, Question
from visionattn.comparison.matching import Matched, Matching, Value
from visionattn.comparison.measure import seconds_of_forward
from visionattn.comparison.plan import Plan, Planned, merged
from visionattn.comparison.table import deviation
from visionattn.config import BuildPolicy
from visionattn.config.messages import plain, unresolved_plain
from visionattn.errors import ConfigError, VisionAttnError
from visionattn.runs.start import shared_parameters


@dataclass(frozen=True)
class Composed:
    """An entry with its configuration.

    Attributes:
        entry: as it was given.
        cfg: composed, without its ``hydra`` node; what refers to that is resolved.
    """

    entry: Entry
    cfg: DictConfig


def prepare(
    question: Question,
    composed: Sequence[Composed],
    train: Sequence[str],
    policy: BuildPolicy,
    about: Mapping[str, str],
    command: str,
) -> tuple[Plan, str]:
    """Build, check and match every entry.

    Args:
        question: what is compared.
        composed: the entries, the reference first.
        train: overrides that all share.
        policy: what configurations may build.
        about: facts for the report.
        command: as it was typed.

    Returns:
        The plan, and the configuration of the reference as text.

    Raises:
        ConfigError: an entry does not build, is about other data or another metric, or cannot be matched; names it.
    """
    found, fixed = _built(composed, policy)
    matched = _all_matched(question, composed, found, policy)
    reference = found[0].cfg
    planned = [
        _planned(one.entry, model, match, question, found[0], policy)
        for one, model, match in zip(composed, found, matched, strict=True)
    ]
    what, scored = asked(question, [one.entry for one in composed], train), reference.task
    trained = tuple(merged(fixed, train))
    names = str(scored.monitor), str(scored.monitor_mode)
    plan = Plan(what, tuple(planned), question.seeds, trained, *names, about=about, command=command)
    return plan, OmegaConf.to_yaml(reference, resolve=True)


def _built(composed: Sequence[Composed], policy: BuildPolicy) -> tuple[list[Model], list[str]]:
    """The model of every entry, and what was inferred of data and machine, as overrides."""
    reference, fixed = inferred(composed[0].cfg, policy)
    found = []
    for one in composed:
        try:
            cfg = reference if one is composed[0] else _filled(one.cfg, reference, policy)
            _check_same(reference, cfg)
            found.append(checked(cfg, policy))
        except VisionAttnError as error:
            error.args = (f"in the entry {one.entry.name}: {error}",)
            raise
    return found, fixed


def asked(question: Question, entries: Sequence[Entry], train: Sequence[str]) -> dict[str, Any]:
    """What identifies a comparison, as it stands in its plan."""
    values: dict[str, Any] = {
        "overrides": list(train),
        "entries": {entry.name: list(entry.words) for entry in entries},
        "seeds": list(question.seeds),
        "match": question.match,
    }
    if question.match != "none":
        values |= {"change": question.change, "tolerance": question.tolerance}
    return dict(json.loads(json.dumps(values)))


def _filled(cfg: DictConfig, reference: DictConfig, policy: BuildPolicy) -> DictConfig:
    """The configuration with what is inferred of data and machine as in the reference, and of its own model itself."""
    cfg = copy.deepcopy(cfg)
    for key in ("data", "trainer"):
        for name, value in _open(unresolved_plain(cfg[key]), key):
            known = OmegaConf.select(reference, name)
            if value == "auto" and known is not None:
                OmegaConf.update(cfg, name, known)
    return inferred(cfg, policy)[0]


def _open(node: Any, key: str) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [found for name, value in node.items() for found in _open(value, f"{key}.{name}")]
    return [(key, node)]


def _check_same(reference: DictConfig, cfg: DictConfig) -> None:
    """Make sure that an entry is scored on the same data by the same metric as the reference.

    Raises:
        ConfigError: it is not.
    """
    for key, what in (
        ("data.source", "other data"),
        ("task._target_", "another task"),
        ("task.monitor", "another metric"),
    ):
        first, own = (plain(OmegaConf.select(one, key)) for one in (reference, cfg))
        if first != own:
            raise ConfigError(
                f"it is about {what} than the reference ({key} is {_brief(own)}, not {_brief(first)}), and figures of "
                "these cannot be compared"
            )


def _brief(value: Any) -> str:
    text = str(value.get("_target_", value) if isinstance(value, dict) else value)
    return text.rpartition(".")[2] if text.startswith("visionattn.") else text


def _all_matched(
    question: Question, composed: Sequence[Composed], found: Sequence[Model], policy: BuildPolicy
) -> list[Matched]:
    if question.match == "none":
        return [Matched() for _ in composed]
    value = _value(question.match, found[0], policy)
    target = value(found[0])
    matched, refused = [Matched({}, "", target, target)], []
    for one, model in zip(composed[1:], found[1:], strict=True):
        search = Matching(model, value, target, policy)
        best = search.by(question.change)
        matched.append(best)
        if abs(best.deviation) > question.tolerance:
            refused.append(_refusal(one.entry.name, best, search, question))
    if refused:
        raise ConfigError(
            f"match={question.match} within {100 * question.tolerance:g} % of {composed[0].entry.name} is not reached: "
            f"{'; '.join(refused)}; give another change, a larger tolerance, other entries, or match=none"
        )
    return matched


def _refusal(name: str, best: Matched, search: Matching, question: Question) -> str:
    if search.fixed:
        return (
            f"{name} is {deviation(best.deviation)} and has no depths and dims to change "
            f"(reference={name} matches the others to it)"
        )
    other = next(change for change in CHANGES if change != question.change)
    second = search.by(other)
    return (
        f"the nearest of {name} is {deviation(best.deviation)} by change={question.change} ({best.told}) and "
        f"{deviation(second.deviation)} by change={other} ({second.told})"
    )


def _value(match: str, reference: Model, policy: BuildPolicy) -> Value:
    """What is made equal, as a function of a model."""
    if match == "flops":
        return lambda model: model.gmacs
    if match == "params":
        return lambda model: float(model.params)
    device = _device(reference.cfg)
    images = torch.randn(min(int(reference.cfg.data.batch_size), 16), *reference.size, device=device)
    first = policy.instantiate(reference.cfg.task)

    def seconds(model: Model) -> float:
        """Of a forward pass, as a part of the reference's in the same rounds."""
        if model is reference:
            return 1.0
        found = seconds_of_forward({"first": first, "entry": policy.instantiate(model.cfg.task)}, images)
        return found["entry"] / found["first"]

    return seconds


def _device(cfg: DictConfig) -> torch.device:
    on_cpu = str(cfg.trainer.get("accelerator")) == "cpu" or not torch.cuda.is_available()
    return torch.device("cpu" if on_cpu else "cuda")


def _planned(
    entry: Entry, model: Model, match: Matched, question: Question, reference: Model, policy: BuildPolicy
) -> Planned:
    if match.keys:
        try:
            model = checked(with_keys(model, policy, match.keys).cfg, policy)
        except FAULTS as error:
            raise ConfigError(f"in the entry {entry.name}, {match.told}: {error}") from error
    matched = question.match != "none"
    return Planned(
        name=entry.name,
        folder=entry.folder,
        words=tuple(merged(entry.words, match.words)),
        changed=match.told if matched and model is not reference else "",
        deviation=match.deviation if matched else None,
        params=model.params,
        gmacs=model.gmacs,
        shared=sum(shared_parameters(model.task, reference.task).values()),
    )
