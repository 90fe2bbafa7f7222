"""``format=safetensors``: the weights of any task under our own names, with the configuration that builds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from visionattn.errors import CheckpointError
from visionattn.export.card import write_model_card
from visionattn.export.model import ExportedModel, relative_error
from visionattn.weights import read_state_dict

NAME = "model.safetensors"


def write(exported: ExportedModel, folder: Path, dry_run: bool) -> dict[str, Any]:
    """Write ``model.safetensors``, ``config.yaml`` and ``README.md``, build the task from them and compare.

    The names of the classes, and what else is known of them, are in the metadata of ``model.safetensors``.

    ``weights=<folder>`` starts a training from it.

    Raises:
        CheckpointError: what was written is not the same model.
    """
    state = {name: tensor.contiguous() for name, tensor in exported.task.state_dict().items()}
    facts: dict[str, Any] = {"tensors": len(state), "names": "visionattn's"}
    if dry_run:
        return facts
    classes = {"class_names": json.dumps(exported.class_names)} if exported.class_names else {}
    classes["class_facts"] = json.dumps(exported.task.class_info.as_dict())
    save_file(state, folder / NAME, metadata={"format": "pt", **classes})
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(exported.trained, resolve=True), encoding="utf-8")
    task = exported.opened.policy.instantiate(exported.trained.task).eval()
    task.load_state_dict(read_state_dict(folder / NAME))
    images, origin = exported.images
    with torch.no_grad():
        ours, theirs = (
            one.backbone.forward_intermediates(images, norm=True, intermediates_only=True)
            for one in (exported.task, task)
        )
    error = max(relative_error(a, b) for a, b in zip(ours, theirs, strict=True))
    if error:
        raise CheckpointError(f"the written weights differ: relative error {error:.1e} of the features, allowed 0")
    facts |= {"compared on": origin, "relative error of the features": "0"}
    write_model_card(folder, exported, facts, None)
    return facts | {"use": f"visionattn train ... weights={folder} weights_part=model"}
