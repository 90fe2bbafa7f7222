"""Top-1 of a classifier and of its files, on the same validation images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from visionattn.data import VisionData
from visionattn.errors import ConfigError
from visionattn.export.graph_modules import Graph, expected
from visionattn.export.model import ExportedModel
from visionattn.export.runtimes import Run
from visionattn.export.samples import batches_of, evenly, number_of_samples
from visionattn.export.score import AUTO, FEW_PIXELS


@torch.no_grad()
def top1_facts(
    model: ExportedModel, data: VisionData[Any], graph: Graph, files: Mapping[str, Run], batch_size: int
) -> dict[str, Any]:
    """Top-1 of the trained model and of each file, on the validation split or, where that is large, on a part of it.

    Args:
        model: the trained one, with ``options.score``.
        data: whose validation split is scored.
        graph: what was traced.
        files: name -> the file in a runtime.
        batch_size: images at a time.

    Returns:
        Facts for the final table; as numbers ``top1_of_training`` and ``top1``, of the first file.

    Raises:
        ConfigError: ``options.score`` is not auto, true or false.
    """
    positions, where = _positions(model, data)
    if not positions:
        return {}
    right, total = 0, 0
    found = {name: [0, 0] for name in files}  # right, and the trained model's class
    for batch in batches_of(data, data.evaluation_split, positions, batch_size):
        ours, target = expected(model.task, graph, batch["image"])[0].argmax(1), batch["target"]
        right, total = right + int((ours == target).sum()), total + len(target)
        for name, run in files.items():
            theirs = torch.from_numpy(run(batch["image"].numpy())[0]).argmax(1)
            found[name][0] += int((theirs == target).sum())
            found[name][1] += int((theirs == ours).sum())
    before = 100 * right / total
    facts: dict[str, Any] = {"top1 of the trained model": f"{before:.2f} on {total:,} {where}"}
    after = {name: 100 * hits / total for name, (hits, _) in found.items()}
    for name, (_, same) in found.items():
        told = f"{after[name]:.2f} ({after[name] - before:+.2f} points; the same class on {same / total:.2%})"
        facts[f"top1 of the int8 file in {name}"] = told
    return facts | {"top1": next(iter(after.values())), "top1_of_training": before}


def _positions(model: ExportedModel, data: VisionData[Any]) -> tuple[list[int], str]:
    """Which validation images are scored, none with ``options.score=false``, and in words which."""
    wanted: Any = model.options.get("score", AUTO)
    if wanted not in (AUTO, True, False):
        raise ConfigError(f"options.score is auto, true or false, got {wanted!r}")
    if wanted is False:
        return [], ""
    (height, width), count = model.image_size, number_of_samples(data, data.evaluation_split)
    positions = evenly(count, count if wanted is True else max(1, FEW_PIXELS // (height * width)))
    part = f"of {count:,} validation images; options.score=true takes all"
    return positions, "validation images" if len(positions) == count else part
