"""``visionattn explain``: a model read from top to bottom, with shapes, parameters and multiply-adds."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from visionattn.backbones.explain import Part, describe
from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.errors import ConfigError

_WIDTH = 80
_FIGURES = (14, 12, 8)  # widths of the columns output, parameters, GMACs
_DEFAULT_CLASSES = 1000  # of conf/backbone/base; a card may say something else
_NO_BREAK = "\N{NO-BREAK SPACE}"
_PLAIN_CONVOLUTION = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
_UNSAID = {"dim", "padding", "approximate", "normalized_shape", "num_features", "eps", "momentum", "affine"}
_UNSAID |= {"elementwise_affine", "track_running_stats"}


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Print the tree of a backbone; no weights are made, and nothing is written.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``params`` and ``macs`` of the whole model.

    Raises:
        ConfigError: the model does not build, does not run at this size, or the format is unknown.
    """
    if cfg.format not in ("text", "json"):
        raise ConfigError(f"format is text or json, not {cfg.format}")
    backbone = plain(cfg.backbone)
    card = backbone.get("card") or {}
    size = backbone.get("in_chans", 3), *_image_size(cfg, card)
    classes = {}
    if backbone.get("num_classes") == _DEFAULT_CLASSES and "num_classes" in card:
        classes["num_classes"] = card["num_classes"]
    with torch.device("meta"):
        model = policy.instantiate(cfg.backbone, **classes)
    try:
        whole = describe(model, size)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{cfg.backbone_name} does not run on an image of {_by(size)}: {error}") from error
    if cfg.format == "json":
        print(json.dumps({"name": cfg.backbone_name, "input_size": size, "card": card, "model": asdict(whole)}))
    else:
        _show(cfg, card, size, whole)
    return {"params": whole.params, "macs": whole.macs}


def _image_size(cfg: DictConfig, card: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width: ``size``, or what the card says."""
    size = card.get("input_size", (3, 224, 224))[1:] if cfg.size is None else plain(cfg.size)
    if not (isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        raise ConfigError(f"size is [height, width] in pixels, not {size}")
    return size[0], size[1]


def _show(cfg: DictConfig, card: Mapping[str, Any], size: Sequence[int], whole: Part) -> None:
    unit, scale = ("GMACs", 1e9) if whole.macs >= 1e8 else ("MMACs", 1e6)
    lines = [*_heading(cfg.backbone_name, card, size), *_row(Text("module"), "output", "parameters", unit)]
    lines += _tree(whole.parts, "", cfg.depth, scale)
    lines += _row(Text("total"), _by(whole.shape), f"{whole.params:,}", _scaled(whole.macs, scale))
    if "params" in card and "gmacs" in card:
        lines += _row(Text("card"), "", f"{card['params']:,}", f"{1e9 * card['gmacs'] / scale:.5g}")
    console = Console(width=_WIDTH, highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def _heading(name: str, card: Mapping[str, Any], size: Sequence[int]) -> Iterator[Text]:
    paper = card.get("paper") or {}
    facts = [
        f"arXiv {paper['arxiv']}" if "arxiv" in paper else "",
        f"top-1 {card['top1']:.1f} %" if card.get("top1") else "",
        f"license {card['license']}" if card.get("license") else "",
        f"image {_by(size)}",
    ]
    title = f"{name}: {paper['title']}" if "title" in paper else name
    yield Text("\n".join(textwrap.wrap(title, _WIDTH)), "bold")
    yield Text("\n".join(textwrap.wrap(", ".join(filter(None, facts)), _WIDTH)))
    yield Text()


def _tree(parts: Sequence[Part], prefix: str, depth: int, scale: float) -> Iterator[Text]:
    visible = [part for part in parts if part.params or part.macs]
    for part in visible:
        last = part is visible[-1]
        beneath = prefix + ("    " if last else "│   ")
        nested = any("mixer" in below.names for below in part.parts)  # a block inside a block
        inner = part.parts if depth > 1 or nested else ()
        label = Text.assemble((prefix + ("└── " if last else "├── "), "dim"), (_names(part), "cyan"), part.kind)
        about = _about(part, with_parts=not inner)
        figures = _by(part.shape), f"{part.params:,}", _scaled(part.macs, scale)
        if label.cell_len + len(about) < _WIDTH - sum(_FIGURES):
            label, about = Text.assemble(label, f" {about}"), ""
        yield from _row(label, *figures)
        indent = beneath + ("│   " if any(p.params or p.macs for p in inner) else "    ")
        unbroken = about.replace(" ", _NO_BREAK).replace(f",{_NO_BREAK}", ", ")
        for line in textwrap.wrap(unbroken, _WIDTH - len(indent)):
            yield Text.assemble((indent, "dim"), line.replace(_NO_BREAK, " "))
        yield from _tree(inner, beneath, depth - 1, scale)


def _row(label: Text, *figures: str) -> Iterator[Text]:
    """A line of label and figures; a label that leaves no room for them gets a line of its own."""
    columns = "".join(f"{figure:>{width}}" for figure, width in zip(figures, _FIGURES, strict=True)).rstrip()
    columns = columns.rjust(_WIDTH - sum(_FIGURES) + len(columns))
    if columns[: label.cell_len + 1].strip():
        yield label
        label = Text()
    yield Text.assemble(label, columns[label.cell_len :])


def _names(part: Part) -> str:
    """``mixer: ``, ``norm1, norm2: ``, ``blocks 0-4: 5 x ``; a stage with its key in ``mixers``."""
    folder, _, number = part.names[0].rpartition(".")
    if len(part.names) == 1:
        key = f" (s{int(number) + 1})" if folder == "stages" else ""
        return f"{part.names[0]}{key}: "
    if not folder or len({name.rpartition(".")[0] for name in part.names}) > 1:
        return f"{', '.join(part.names)}: "
    numbers = _numbers([int(name.rpartition(".")[2]) for name in part.names])
    return f"{folder} {numbers}: {len(part.names)} x "


def _numbers(numbers: Sequence[int]) -> str:
    """``0-4``, ``0, 2 ... 16``, ``0, 1, 3``."""
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    if steps == {1} and len(numbers) > 2:
        return f"{numbers[0]}-{numbers[-1]}"
    if len(steps) == 1 and len(numbers) > 3:
        return f"{numbers[0]}, {numbers[1]} ... {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _about(part: Part, with_parts: bool) -> str:
    """Arguments, own parameters and, unless they get lines of their own, the layers inside."""
    words = _words(part)
    words += [f"{name} {_by(shape)}" for name, shape in part.weights.items() if name not in ("weight", "bias")]
    if with_parts:
        words += [_inline(inner) for inner in part.parts]
    return ", ".join(words)


def _inline(part: Part) -> str:
    return " ".join([" and ".join(part.names), *(_words(part) or [part.kind])]) if part.params else part.kind


def _words(part: Part) -> list[str]:
    arguments = {k: v for k, v in part.arguments.items() if k not in _UNSAID and _PLAIN_CONVOLUTION.get(k) != v}
    words = []
    for source, result in (("in_features", "out_features"), ("in_channels", "out_channels")):
        if source in arguments and result in arguments:
            words.append(f"{arguments.pop(source)} -> {arguments.pop(result)}")
    words += [f"{name}={_value(value)}" for name, value in arguments.items()]
    return [*words, "no bias"] if words and "weight" in part.weights and "bias" not in part.weights else words


def _value(value: Any) -> str:
    return _by(value) if isinstance(value, tuple) and value else str(value)


def _by(shape: Sequence[Any] | None) -> str:
    return "" if shape is None else "x".join(map(str, shape))


def _scaled(macs: int, scale: float) -> str:
    return f"{macs / scale:.3f}" if macs else ""
