"""How evaluation images are made: the model's own way, unless the command line says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.data.image_size import as_size

_IN_TRANSFORM = ("crop_pct", "crop_mode", "interpolation")


def protocol_of_run(data: DictConfig) -> dict[str, Any]:
    """What a run's data configuration says about evaluation images."""
    protocol = {name: OmegaConf.select(data, f"eval_transform.{name}") for name in _IN_TRANSFORM}
    protocol |= {name: OmegaConf.to_container(data[name]) for name in ("mean", "std")}
    size: Any = OmegaConf.to_container(OmegaConf.create({"size": data.image_size}))
    protocol["image_size"] = list(as_size(size["size"]))
    return {name: value for name, value in protocol.items() if value is not None}


def apply_protocol(data: DictConfig, protocol: Mapping[str, Any]) -> None:
    """Write a protocol into a data configuration, in place; keys given on the command line stay as they were given."""
    given = given_keys()
    with open_dict(data):
        for name, value in protocol.items():
            key = f"eval_transform.{name}" if name in _IN_TRANSFORM else name
            if f"data.{key}" not in given and data.get("eval_transform", None) is not None:
                OmegaConf.update(data, key, value, force_add=True)


def given_keys() -> set[str]:
    """Keys of the overrides of the running job; none outside one."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    return {str(word).partition("=")[0].lstrip("+") for word in words}
