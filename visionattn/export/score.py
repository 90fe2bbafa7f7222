"""An exported model scored on the validation set of its run, beside the trained model itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from visionattn.data import VisionData
from visionattn.errors import ConfigError
from visionattn.export.model import ExportedModel
from visionattn.training.task import VisionTask

AUTO = "auto"
FEW_PIXELS = 25_000_000
"""Pixels of a validation set, at the run's image size, up to which ``score=auto`` scores."""
Forward = Callable[..., Any]


def score_facts(exported: ExportedModel, forward: Forward) -> dict[str, Any]:
    """Facts for the final table: the monitored figure of the trained model and of the export, or why there is none.

    Args:
        exported: what was exported.
        forward: the exported model, called as the task's own ``forward`` and giving what that gives.

    Raises:
        ConfigError: ``options.score`` is not auto, true or false, or it is true and there are no data.
    """
    wanted: Any = exported.options.get("score", AUTO)
    if wanted not in (AUTO, True, False):
        raise ConfigError(f"options.score is auto, true or false, got {wanted!r}")
    if wanted is False:
        return {}
    data = exported.data
    if data is None:
        if wanted is True:
            raise ConfigError(f"options.score=true needs validation data: {exported.opened.without_data}")
        return {"score": f"not computed: {exported.opened.without_data}"}
    count, (height, width) = data.sizes[data.evaluation_split], exported.image_size
    if wanted == AUTO and count * height * width > FEW_PIXELS:
        return {"score": f"not computed on {count:,} validation images; options.score=true computes it"}
    name = exported.task.monitor.removeprefix("val/")
    trained = figures_of(exported.task, data)
    if name not in trained:
        return {"score": f"not computed: the evaluators of this task give no {name}"}
    changed = copy.copy(exported.task)
    changed.__dict__["forward"] = forward
    export = figures_of(changed, data)
    return {
        f"{name} of the trained model": f"{trained[name]:.4f}",
        f"{name} of the export": f"{export[name]:.4f} on {count:,} validation images",
        "figure": export[name],
        "figure_of_training": trained[name],
    }


@torch.no_grad()
def figures_of(task: VisionTask, data: VisionData[Any]) -> dict[str, float]:
    """What a validation of a task in evaluation mode gives, in this process and on the CPU."""
    task.class_info = data.class_info
    task.meet(data)
    for evaluator in task.evaluators.values():
        evaluator.reset()
    for batch in data.val_dataloader():
        if batch["id"]:
            ready = data.to_model_input(batch)
            output = task.step(ready)
            for evaluator in task.evaluators.values():
                evaluator.update(output.prediction, ready)
    return {name: value for one in task.evaluators.values() for name, value in one.compute(data).items()}
