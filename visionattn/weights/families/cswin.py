"""CSWin Transformer: the names of the official classification code.

A block has its convolutions of the values under ``attns.0`` (vertical strips) and ``attns.1`` (horizontal ones), or
under ``attns.0`` alone where it attends to the whole map. The detection and segmentation code has the same names, but
no classifier, and a norm of each feature; that of the last one is our last norm (:mod:`visionattn.weights.segmenters`).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from visionattn.weights.formats import Format, Rule
from visionattn.weights.read import StateDict

AGENTS = "stage1.0.attns.0.an_bias"
"""Agent attention's CSWin has it beside CSWin's names."""
CONTENT = "stage1.0.content_attn.qkv.weight"
"""BOAT's CSWin has it."""
BLOCK = r"stage(\d)\.(\d+)\."
_BRANCH = re.compile(r"stage(\d)\.(\d+)\.attns\.(\d)\.get_v\.(.+)")


def _recognizes(names: Collection[str]) -> bool:
    return "stage1.0.attns.0.get_v.weight" in names and not {AGENTS, CONTENT} & set(names)


def _stage(match: re.Match[str], rest: str) -> str:
    return f"stages.{int(match[1]) - 1}.{rest}"


def name_branches(state: StateDict) -> StateDict:
    """The strips by their direction: what ``attns.0`` is depends on whether there is an ``attns.1`` beside it."""
    two = {match.group(1, 2) for name in state if (match := _BRANCH.fullmatch(name)) and match[3] == "1"}
    named = {}
    for name, tensor in state.items():
        if match := _BRANCH.fullmatch(name):
            stage, block, branch, rest = match.groups()
            part = ("vertical", "horizontal")[int(branch)] if (stage, block) in two else "position"
            name = f"stage{stage}.{block}.{part}.{rest}"
        named[name] = tensor
    return named


RULES = [
    Rule(r"stage1_conv_embed\.0\.(.+)", r"stem.conv1.\1"),
    Rule(r"stage1_conv_embed\.2\.(.+)", r"stem.norm.\1"),
    Rule(BLOCK + r"(norm[12]\..+)", lambda m: _stage(m, f"blocks.{m[2]}.{m[3]}")),
    Rule(BLOCK + r"((?:qkv|proj)\..+)", lambda m: _stage(m, f"blocks.{m[2]}.mixer.{m[3]}")),
    Rule(BLOCK + r"((?:position|vertical|horizontal)\..+)", lambda m: _stage(m, f"blocks.{m[2]}.mixer.{m[3]}")),
    Rule(BLOCK + r"mlp\.(.+)", lambda m: _stage(m, f"blocks.{m[2]}.ffn.{m[3]}")),
    Rule(r"merge(\d)\.(.+)", r"stages.\1.downsample.\2"),
    Rule(r"(norm\..+)", r"\1"),
    Rule(r"head\.(weight|bias)", r"head.fc.\1"),
]

FORMATS = [Format("CSWin Transformer (official)", _recognizes, RULES, prepare=name_branches)]
