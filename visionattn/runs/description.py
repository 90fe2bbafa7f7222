"""What a training trains, in words: for the start of the run and for its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from visionattn.config.spelling import typed_choices

_RECIPE = ("experiment", "optim", "schedule", "callbacks", "trainer", "debug")
_PACKAGES = ("backbone", "head", "task", "data")


def what_is_trained(cfg: DictConfig) -> dict[str, str]:
    """Task, backbone with the mixer of each stage, head, weights and recipe: name -> text.

    Args:
        cfg: composed ``train.yaml``.
    """
    choices = typed_choices(cfg, _choices())
    told = {name: choices.get(name) or _target(cfg.get(name)) for name in _PACKAGES}
    root = OmegaConf.select(cfg, "data.root", throw_on_missing=False)
    recipe = [f"{name}={choices[name]}" for name in _RECIPE if choices.get(name)]
    about = {
        "task": f"{told['task']}, head {told['head']}",
        "backbone": f"{told['backbone']}, mixers {mixers_in_words(cfg, choices)}{_frozen(cfg)}",
        "data set": told["data"] + (f" in {root}" if root else ""),
        "weights": _weights(cfg),
    }
    return about | ({"recipe": ", ".join(recipe)} if recipe else {})


def about(cfg: DictConfig, facts: Mapping[str, Any]) -> dict[str, str]:
    """What is trained, with its size, batch and rate, for the start of a run; what its recipe says stands below.

    Args:
        cfg: composed ``train.yaml``.
        facts: see :meth:`visionattn.runs.build.Run.facts`.
    """
    told = what_is_trained(cfg)
    if cfg.get("recipe_name"):
        told.pop("recipe", None)
    size = next((f", {text} {name}" for name, text in facts.items() if name.startswith("GMACs")), "")
    told["parameters"] = f"{facts['parameters']}{size}"
    return told | {name: str(facts[name]) for name in ("images per step", "learning rate")}


def _weights(cfg: DictConfig) -> str:
    """What the training starts from; of nothing, why, where that was chosen for a folder."""
    if cfg.get("weights"):
        return f"{cfg.weights} ({cfg.weights_part})"
    why = (cfg.get("recognized") or {}).get("weights")
    return f"none, trained from the start: {why}" if why else "none, trained from the start"


def _frozen(cfg: DictConfig) -> str:
    parts = OmegaConf.select(cfg, "task.freeze") or []
    return f", frozen: {', '.join([parts] if isinstance(parts, str) else parts)}" if parts else ""


def mixers_in_words(cfg: DictConfig, choices: Mapping[str, str] | None = None) -> str:
    """The mixer of each stage, for instance ``s1 dinat/3_2, s2 window, s3 window (window_size 4)``."""
    chosen = _choices() if choices is None else choices
    mixers: Any = OmegaConf.select(cfg, "backbone.mixers") or {}
    given = _given()
    words = []
    for stage in sorted(mixers):
        key = f"backbone.mixers.{stage}"
        name = chosen.get(f"mixer@{key}") or _target(mixers[stage])
        changed = [f"{one.removeprefix(f'{key}.')} {value}" for one, value in given if one.startswith(f"{key}.")]
        words.append(f"{stage} {name}" + (f" ({', '.join(changed)})" if changed else ""))
    return ", ".join(words) or "of its own"


def _choices() -> dict[str, str]:
    """The file that each group was filled from in the running job; nothing outside one."""
    if not HydraConfig.initialized():
        return {}
    return {str(name): str(value) for name, value in HydraConfig.get().runtime.choices.items() if value}


def _given() -> list[tuple[str, str]]:
    """Keys and values of the overrides of the running job."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    parts = (str(word).lstrip("+").partition("=") for word in words)
    return [(key, value) for key, _, value in parts]


def _target(node: Any) -> str:
    target = node.get("_target_") if OmegaConf.is_dict(node) else None
    return str(target or "none").rpartition(".")[2]
