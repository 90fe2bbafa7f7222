"""``docs/attention.md`` and its pictures: what a token sees through each mixer, and what that costs.

python -m visionattn.analysis.gallery docs
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from visionattn import attention
from visionattn.analysis.field import Smooth, generic_copy
from visionattn.analysis.implicit import implicit_attention
from visionattn.analysis.trace import Part, record
from visionattn.backbones.cost import count_macs
from visionattn.backbones.zoo import create_backbone
from visionattn.config.catalog import choices, header, source_file
from visionattn.drawing.attention import draw_field
from visionattn.drawing.canvas import sheet_of

_HOST, _STEM = "swin_pico", 4
_MAP, _TOKEN = 28, (11, 9)
_FIRST = {
    "window": "window, first block",
    "window+": "window, second block",
    "neighborhood": "neighborhood",
    "dinat/7_2+": "dilated neighborhood",
    "cross_shaped": "crossed strips",
    "grid": "grid",
}
"""The pictures at the top, with captions; ``+`` is a stage's second block."""
_HEAD = """# Attention explained

A mixer is the part of a block that moves information between tokens; everything else in a block works on each token
alone. Any of these fits into any stage of any backbone: `backbone.mixers.s3=NAME` on the command line, or `mixer=NAME`
for all stages.

![What a token sees through five mixers](images/attention.png)

The frame marks a token of a map of 28 x 28. The darker another token, the more the framed one depends on it after one
mixer, with random weights; white tokens cannot reach it. Where the second block of a stage sees something else (shifted
windows, dilation), it is drawn beside the first.

**Cost** is multiply-adds of the mixer with its projections, for 96 channels in 4 heads on a map of 28 x 28, in
millions, and how many times more a map of 56 x 56 costs: 4 means linear in the number of tokens, 16 quadratic. What
`visionattn benchmark lengths` measured on a CPU is in [probes](probes.md#the-efficiency-length).

This page and its pictures are made by `python -m visionattn.analysis.gallery docs`.
"""


@dataclass(frozen=True)
class Entry:
    """What the page says of one mixer.

    Attributes:
        name: of the file in ``conf/mixer``.
        about: its sentence.
        source: the class's file, from the root of the repository.
        macs: multiply-adds on the smaller and on the larger map.
        fields: how much the token depends on each token ``(H, W)``, one or two blocks; none where the mixer only holds
            others.
    """

    name: str
    about: str
    source: str
    macs: tuple[int, int]
    fields: list[np.ndarray]


def entry(name: str) -> Entry:
    """Build a mixer, count its cost, and compute what a token sees."""
    text = source_file(f"mixer/{name}.yaml").read_text(encoding="utf-8")
    model = _host(name)
    parts = _parts(model)
    sizes = (count_macs(model, (3, side, side)) for side in (_STEM * _MAP, 2 * _STEM * _MAP))
    smaller, larger = (counts.get("stages.0.blocks.0.mixer", 0) for counts in sizes)
    holds_others = re.search(r"^ *- /mixer@", text, re.MULTILINE) is not None
    owner = _named(text) if holds_others else type(parts[0].mixer)
    source = owner.__module__.replace(".", "/") + ".py"
    fields = [] if holds_others else _different(_fields(parts))
    return Entry(name, " ".join(header(text)), source, (smaller, larger), fields)


def _named(text: str) -> type:
    """The class that a mixer's file names itself."""
    (name,) = re.findall(r"^_target_: visionattn\.attention\.(\w+)$", text, re.MULTILINE)
    found: type = getattr(attention, name)
    return found


def _host(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_backbone(_HOST, overrides=[f"mixer@mixers.s1={name}", "dims=[96,192,384]", "num_heads=[4,4,4]"])


def _parts(model: nn.Module) -> list[Part]:
    """The mixers of the first two blocks at work, with generic weights."""
    side, generic = _STEM * _MAP, generic_copy(model).eval()
    noise = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with Smooth():
        blocks = record(generic, noise).stages[0].blocks[:2]
    return [part for block in blocks for part in block.parts]


def _fields(parts: list[Part]) -> list[np.ndarray]:
    with Smooth():
        return [implicit_attention(part, _TOKEN).numpy() for part in parts]


def _different(fields: list[np.ndarray]) -> list[np.ndarray]:
    """The first alone, if all reach the same tokens."""
    return fields[:1] if all(np.array_equal(fields[0] > 0, other > 0) for other in fields[1:]) else fields


def page(entries: list[Entry]) -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *(_section(found) for found in entries)])


def _section(found: Entry) -> str:
    about = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", found.about)
    lines = [f"## {found.name}", "", f"{about[:1].upper()}{about[1:]}.", ""]
    if found.fields:
        lines += [f"![{found.name}](images/mixers/{found.name}.png)", ""]
    smaller, larger = found.macs
    cost = f"{smaller / 1e6:.0f} million, x {larger / smaller:.1f}" if smaller else "no multiply-adds"
    cost += "" if found.fields else ", with the mixer that its file puts inside"
    code = f"[{found.source}](../{found.source})"
    return "\n".join([*lines, f"Cost: {cost}. Code: {code}.", ""])


def save(docs: Path) -> None:
    """Write the page and its pictures."""
    entries = [entry(name) for name in choices("mixer") if "/" not in name]
    for found in entries:
        if found.fields:
            _save([(draw_field(field, _TOKEN), "") for field in found.fields], docs / f"images/mixers/{found.name}.png")
    top = [
        (draw_field(_fields(_parts(_host(key.rstrip("+"))))[key.endswith("+")], _TOKEN), _FIRST[key]) for key in _FIRST
    ]
    _save(top, docs / "images/attention.png")
    (docs / "attention.md").write_text(page(entries), encoding="utf-8")


def _save(tiles: list[tuple[Image.Image, str]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet = sheet_of(tiles, columns=len(tiles), edge=tiles[0][0].width)
    sheet.quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    """Writes the page below the folder given as the only argument."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m visionattn.analysis.gallery FOLDER")
    save(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
