"""The model card of an exported model: the ``README.md`` that the Hugging Face Hub shows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from timm.models import get_pretrained_cfg

from visionattn.backbones import zoo
from visionattn.backbones.cost import count_parameters
from visionattn.drawing.plots import plot_curves
from visionattn.export.model import ExportedModel
from visionattn.runs import provenance

CURVES = "curves.png"
_PIPELINES = {
    "ClassificationTask": "image-classification",
    "DetectionTask": "object-detection",
    "SegmentationTask": "image-segmentation",
    "PanopticTask": "image-segmentation",
}


def write_model_card(
    folder: Path,
    exported: ExportedModel,
    facts: Mapping[str, Any],
    imported: str | None,
    example: Sequence[str] | None = None,
) -> None:
    """Write ``README.md`` and, where the run's log is there, its learning curves beside it.

    Args:
        folder: of the exported model.
        exported: what was exported.
        facts: results of the export, for the card's table.
        imported: what has to be imported for timm to build it, such as ``timm``; None: timm does not.
        example: lines that show how it is used; None: those of ``imported``.
    """
    figures, (license, origin) = exported.figures(), license_of(exported)
    header = ModelCardData(
        license=license,
        library_name="timm" if imported else "visionattn",
        tags=[*(["timm"] if imported else []), "visionattn"],
        pipeline_tag=_PIPELINES.get(type(exported.task).__name__),
    )
    lines = ["---", header.to_yaml(), "---", f"# {exported.trained.name}", ""]
    repository = exported.options.push_to_hub or "OWNER/NAME"
    used = example or (_example(imported, repository) if imported else _command(repository))
    lines += [_opening(exported), "", *used, ""]
    lines += _table("Figures", {name: f"{value:.4g}" for name, value in figures.items()})
    if figures:
        lines += ["On the validation images of the run, at the epoch of these weights.", ""]
    lines += _table("Evaluation images", exported.protocol())
    if _curves(folder, exported):
        lines += [f"![learning curves]({CURVES})", ""]
    command = exported.command or "the training command is unknown: the run's folder was not found"
    lines += ["## Training", "", "```", command, "```", ""]
    lines += _table("Export", facts)
    lines += _table("Versions", provenance.versions())
    lines += ["## License", "", f"`{license}`: {origin}", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def license_of(exported: ExportedModel) -> tuple[str, str]:
    """License of the weights, and where that comes from."""
    trained = exported.trained
    if exported.options.license:
        return str(exported.options.license), "as given with the export."
    card = (zoo.backbone_files().get(trained.backbone_name) or {}).get("card") or {}
    if trained.get("weights") == "timm" and trained.backbone.get("model"):
        published = get_pretrained_cfg(exported.backbone_name)
        return str((published and published.license) or "other"), f"of timm's weights of {exported.backbone_name}."
    if trained.get("weights") is not None and card.get("license"):
        return str(card["license"]), f"that of the published weights that training began with ({trained.weights})."
    if trained.get("weights") is not None:
        return "other", f"training began with {trained.weights}; its license is not known here."
    return (
        "apache-2.0",
        "visionattn's own; the weights were trained from scratch. The data may have a license of their own.",
    )


def _opening(exported: ExportedModel) -> str:
    parameters = count_parameters(exported.task.backbone) + count_parameters(exported.task.head)
    card = (zoo.backbone_files().get(exported.trained.backbone_name) or {}).get("card") or {}
    paper = card.get("paper") or {}
    after = (
        f", after *{paper['title']}* ([arXiv {paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']}))"
        if paper
        else ""
    )
    height, width = exported.image_size
    source = str(exported.trained.data.source.get("_target_", "")).rpartition(".")[2]
    return (
        f"`{exported.backbone_name}`{after}, {parameters:,} parameters, {exported.opened.told_origin(source)} with "
        f"images of {height}x{width} pixels."
    )


def _example(imported: str, repository: str) -> list[str]:
    return [
        "```python",
        *(f"import {name}" for name in imported.split(", ")),
        "",
        f'model = timm.create_model("hf-hub:{repository}", pretrained=True).eval()  # a folder: "local-dir:FOLDER"',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)",
        "```",
    ]


def _command(repository: str) -> list[str]:
    return ["```", f"visionattn train ... weights=hf-hub:{repository} weights_part=model", "```"]


def _table(heading: str, rows: Mapping[str, Any]) -> list[str]:
    if not rows:
        return []
    return [
        f"## {heading}",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
    ]


def _curves(folder: Path, exported: ExportedModel) -> bool:
    if exported.run is None:
        return False
    drawn, log = exported.run / "plots" / CURVES, exported.run / "metrics.csv"
    if drawn.is_file():
        shutil.copyfile(drawn, folder / CURVES)
    elif log.is_file():
        plot_curves(log, folder / CURVES, metric=exported.task.monitor)
    return (folder / CURVES).is_file()
