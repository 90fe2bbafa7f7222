"""BOAT's names: those of its hosts, Swin and CSWin; the content attention of a block and its norm come beside them.

Swin's code calls them ``attnC`` and ``norm4``, CSWin's ``content_attn`` and ``norm3``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from visionattn.weights.families import cswin, swin
from visionattn.weights.formats import Format, Rule


def _content(block: str, attention: str, norm: str, first: int) -> list[Rule]:
    """Rules of the content attention; the groups of ``block`` are stage and block, stages counted from ``first``."""

    def named(rest: str) -> Callable[[re.Match[str]], str]:
        return lambda match: f"stages.{int(match[1]) - first}.blocks.{match[2]}.content." + match.expand(rest)

    return [
        Rule(rf"{block}{attention}\.((?:qkv|proj)\..+)", named(r"mixer.\3")),
        Rule(rf"{block}{attention}\.get_v\.(.+)", named(r"mixer.position.\3")),
        Rule(rf"{block}{norm}\.(.+)", named(r"norm.\3")),
    ]


FORMATS = [
    Format(
        "BOAT-Swin", lambda names: swin.CONTENT in names, [*_content(swin.BLOCK, "attnC", "norm4", 0), *swin.OFFICIAL]
    ),
    Format(
        "BOAT-CSWin",
        lambda names: cswin.CONTENT in names,
        [*_content(cswin.BLOCK, "content_attn", "norm3", 1), *cswin.RULES],
        cswin.name_branches,
    ),
]
