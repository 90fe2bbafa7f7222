"""``docs/models.md``: the published backbones in a table, made from the cards in ``conf/backbone``.

python -m visionattn.backbones.table docs/models.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionattn.backbones.zoo import backbone_files

_HEAD = """# Models

This file is generated from the cards in `visionattn/conf/backbone`, and a test keeps it current. To regenerate it:
`python -m visionattn.backbones.table docs/models.md`.

`visionattn.create_backbone(name)` builds a model; `timm.create_model("va_" + name)` builds the same one through timm.

- Parameters are exact, and a test compares them with the model.
- GMACs are multiply-adds for one image of the input size in units of 1e9. A test counts them to within 1 %.
- Top-1 is the published ImageNet-1k accuracy in percent. Nothing in that column was measured here.
- `create_backbone(name, weights="timm")` downloads the weights in the timm column. Files from the addresses in the last
  column load with `visionattn.load_weights(model, path)`.
"""
_COLUMNS = ["Model", "Input", "Parameters", "GMACs", "Top-1", "Pretraining", "License", "timm", "Official weights"]
_RIGHT = {"Parameters", "GMACs", "Top-1"}


def model_table() -> str:
    """The whole page as Markdown: one section for each paper, in alphabetical order of the first model."""
    papers: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, contents in backbone_files().items():
        papers.setdefault(_paper(contents["card"]), []).append((name, contents["card"]))
    return "\n".join([_HEAD, *(_section(paper, models) for paper, models in papers.items())])


def _paper(card: Mapping[str, Any]) -> str:
    paper = card.get("paper")
    if not paper:
        return "Small models of our own, for the built-in data"
    return f"{paper['title']} ([arXiv {paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']}))"


def _section(paper: str, models: list[tuple[str, Mapping[str, Any]]]) -> str:
    rows = sorted((_row(name, card) for name, card in models), key=lambda row: int(row[2].replace(",", "")))
    rule = ["--:" if column in _RIGHT else ":--" for column in _COLUMNS]
    lines = [f"| {' | '.join(row)} |" for row in [_COLUMNS, rule, *rows]]
    return "\n".join([f"## {paper}", "", *lines, ""])


def _row(name: str, card: Mapping[str, Any]) -> list[str]:
    weights, top1 = card.get("weights") or {}, card.get("top1")
    official = weights.get("official")
    address = official.get("url") if isinstance(official, Mapping) else official
    return [
        f"`{name}`",
        "x".join(map(str, card["input_size"][1:])),
        f"{card['params']:,}",
        f"{card['gmacs']:g}",
        "" if top1 is None else f"{top1:.1f}",
        str(card.get("pretrain") or weights.get("pretrain") or ""),
        str(card["licence"] or "not stated"),
        f"`{weights['timm']}`" if weights.get("timm") else "",
        f"[file]({address})" if address else "",
    ]


def main() -> None:
    """Writes the page to the path given as the only argument."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m visionattn.backbones.table PATH")
    Path(sys.argv[1]).write_text(model_table(), encoding="utf-8")


if __name__ == "__main__":
    main()
