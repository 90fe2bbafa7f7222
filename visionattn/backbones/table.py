"""``docs/models.md`` and the README's families: the published backbones in tables, from the cards in ``conf/backbone``.

python -m visionattn.backbones.table docs/models.md README.md
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from visionattn.backbones.zoo import backbone_files
from visionattn.config.catalog import choices, read, source_file

_HEAD = """# Models

The families, with the ranges of their figures; [networks of timm](backbones.md#networks-of-timm) fit in their place:

<!-- families -->

<!-- end -->

`visionattn.create_backbone(name)` builds a model; `timm.create_model("va_" + name)` builds the same one through timm.
In the tables below:

- Parameters are exact, and a test compares them with the model.
- GMACs are multiply-adds for one image of the input size in units of 1e9. A test counts them to within 1 %.
- Top-1 is the published ImageNet-1k accuracy in percent. Nothing in that column was measured here.
- `create_backbone(name, weights="timm")` downloads the weights in the timm column. Files from the addresses in the last
  column load with `visionattn.load_weights(model, path)`.

The page is generated from the cards in `visionattn/conf/backbone`:
`python -m visionattn.backbones.table docs/models.md README.md`.
"""
_COLUMNS = ["Model", "Input", "Parameters", "GMACs", "Top-1", "Pretraining", "License", "timm", "Official weights"]
_RIGHT = {"Parameters", "GMACs", "Top-1"}
_FAMILIES = ["backbones", "paper", "attention", "parameters (M)", "GMACs", "top-1 (%)"]
_BEGIN, _END = "<!-- families -->", "<!-- end -->"
"""The lines of a page between which the table of families stands."""


def model_table() -> str:
    """The whole page as Markdown: one section for each paper, in alphabetical order of the first model."""
    head = with_families(_HEAD, "attention.md")
    return "\n".join([head, *(_section(paper, models) for paper, models in _papers().items())])


def family_table(attention: str = "docs/attention.md") -> str:
    """One row for each paper, as Markdown: names, mixers, and the ranges of the figures on the cards.

    Args:
        attention: address of the page on mixers.
    """
    published = [models for models in _papers().values() if models[0][1]["card"].get("paper")]
    rows = sorted((_family(models, attention) for models in published), key=lambda row: row[0])
    rule = [":--"] * 3 + ["--:"] * 3
    return "\n".join(f"| {' | '.join(row)} |" for row in [_FAMILIES, rule, *rows])


def with_families(page: str, attention: str = "docs/attention.md") -> str:
    """A page whose table of families is current."""
    before, rest = page.split(_BEGIN)
    return f"{before}{_BEGIN}\n\n{family_table(attention)}\n\n{_END}{rest.partition(_END)[2]}"


def _papers() -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    papers: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, contents in backbone_files().items():
        papers.setdefault(_paper(contents["card"]), []).append((name, contents))
    return papers


def _family(models: list[tuple[str, Mapping[str, Any]]], attention: str) -> list[str]:
    cards = [contents["card"] for _, contents in models]
    paper = cards[0]["paper"]
    found = (mixer for _, contents in models for mixer in [*_mixers(contents["defaults"]), *_own(contents)])
    return [
        f"`{_shared([name for name, _ in models])}_*`",
        f"[{paper['title'].partition(':')[0]}](https://arxiv.org/abs/{paper['arxiv']})",
        ", ".join(f"[{mixer}]({attention}#{mixer})" for mixer in dict.fromkeys(found)),
        _range(card["params"] / 1e6 for card in cards),
        _range(card["gmacs"] for card in cards),
        _range(card["top1"] for card in cards if card.get("top1") is not None),
    ]


def _shared(names: list[str]) -> str:
    """The words that all names begin with."""
    words = zip(*(name.split("_") for name in names), strict=False)
    return "_".join(word for word, *others in itertools.takewhile(lambda column: len({*column}) == 1, words))


def _mixers(defaults: Iterable[Any]) -> list[str]:
    """The mixers that a file's defaults choose, each by the name of the file that its preset inherits from."""
    chosen: dict[str, str] = {}
    for entry in defaults:
        for key, value in entry.items() if isinstance(entry, Mapping) else ((entry, None),):
            group, _, place = key.removeprefix("override ").partition("@")
            if group == "/mixer" or group.startswith("/mixer/"):
                chosen[place] = value or group.removeprefix("/mixer/")
    return list(dict.fromkeys(base for mixer in chosen.values() for base in _bases(mixer)))


def _bases(mixer: str) -> list[str]:
    """``cswin/7`` is ``cross_shaped``, ``maxvit/7`` is ``window`` and ``grid``, ``none`` is nothing."""
    if "/" not in mixer:
        return [mixer] * (mixer != "none")
    return _mixers(read(source_file(f"mixer/{mixer}.yaml"))["defaults"])


def _own(contents: Mapping[str, Any]) -> list[str]:
    """The mixers that stand in a file's blocks by their class."""
    classes = re.findall(r"visionattn\.attention\.\w+", str({**contents, "defaults": None}))
    return [name for name, target in _classes().items() if target in classes]


@cache
def _classes() -> dict[str, str]:
    """The class that each mixer's file names."""
    names = [name for name in choices("mixer") if "/" not in name]
    return {name: read(source_file(f"mixer/{name}.yaml")).get("_target_", "") for name in names}


def _range(values: Iterable[float]) -> str:
    found = sorted(values)
    return "-".join(f"{value:.1f}" if value < 100 else f"{value:,.0f}" for value in found[:1] + found[-1:])


def _paper(card: Mapping[str, Any]) -> str:
    paper = card.get("paper")
    if not paper:
        return "Small models of our own, for the built-in data"
    return f"{paper['title']} ([arXiv {paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']}))"


def _section(paper: str, models: list[tuple[str, Mapping[str, Any]]]) -> str:
    rows = sorted(
        (_row(name, contents["card"]) for name, contents in models), key=lambda row: int(row[2].replace(",", ""))
    )
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
        str(card["license"] or "not stated"),
        f"`{weights['timm']}`" if weights.get("timm") else "",
        f"[file]({address})" if address else "",
    ]


def main() -> None:
    """Writes the first path given, the page, and the table of families into the second, the README."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m visionattn.backbones.table docs/models.md README.md")
    page, readme = map(Path, sys.argv[1:])
    page.write_text(model_table(), encoding="utf-8")
    readme.write_text(with_families(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
