"""SHViT: the names of the official code and of timm, which has stages of its own and the same names inside.

The official code keeps a transition in the first three entries of its stage's list; blocks follow.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from visionattn.errors import ConfigError
from visionattn.weights.formats import Format, Rule
from visionattn.weights.read import StateDict
from visionattn.weights.timm_counterpart import Configuration, Twin

_TRANSITION = {"0.0": 0, "0.1": 1, "1": 2, "2.0": 3, "2.1": 4}
_OFFICIAL = re.compile(r"blocks(\d)\.(0\.0|0\.1|2\.0|2\.1|\d+)\.(.+)")
_PAIR = {"c": "conv", "bn": "norm"}
_LAYERS = {"conv1": "expand", "conv2": "depthwise", "conv3": "reduce", "se": "gate"}
_DOWN, _BLOCK = r"stages\.(\d+)\.downsample\.", r"stages\.(\d+)\.blocks\.(\d+)\."


def _as_timm(state: StateDict) -> StateDict:
    """The official names as timm's."""
    named = {}
    for name, tensor in state.items():
        if match := _OFFICIAL.fullmatch(name):
            stage, place, rest = int(match[1]) - 1, match[2], match[3]
            if stage == 0:
                name = f"stages.0.blocks.{place}.{rest}"
            elif place in _TRANSITION:
                name = f"stages.{stage}.downsample.{_TRANSITION[place]}.{rest}"
            else:
                name = f"stages.{stage}.blocks.{int(place) - 3}.{rest}"
        named[name] = tensor
    return named


def _stem(match: re.Match[str]) -> str:
    return f"stem.{_PAIR[match[2]]}{int(match[1]) // 2 + 1}.{match[3]}"


def _pair(prefix: str, last: int) -> Any:
    """A template, then what group ``last`` says of a convolution with its norm, then the rest of the name."""
    return lambda match: f"{match.expand(prefix)}.{_PAIR[match[last]]}.{match[last + 1]}"


RULES = [
    Rule(r"patch_embed\.([0246])\.(c|bn)\.(.+)", _stem),
    Rule(_DOWN + r"0\.m\.(c|bn)\.(.+)", _pair(r"stages.\1.downsample.position1", 2)),
    Rule(_DOWN + r"1\.m\.pw([12])\.(c|bn)\.(.+)", _pair(r"stages.\1.downsample.ffn1.fc\2", 3)),
    Rule(_DOWN + r"2\.se\.(.+)", r"stages.\1.downsample.gate.\2"),
    *(
        Rule(_DOWN + rf"2\.{old}\.(c|bn)\.(.+)", _pair(rf"stages.\1.downsample.{new}", 2))
        for old, new in _LAYERS.items()
        if old != "se"
    ),
    Rule(_DOWN + r"3\.m\.(c|bn)\.(.+)", _pair(r"stages.\1.downsample.position2", 2)),
    Rule(_DOWN + r"4\.m\.pw([12])\.(c|bn)\.(.+)", _pair(r"stages.\1.downsample.ffn2.fc\2", 3)),
    Rule(_BLOCK + r"conv\.m\.(c|bn)\.(.+)", _pair(r"stages.\1.blocks.\2.position1.conv", 3)),
    Rule(_BLOCK + r"mixer\.m\.pre_norm\.(.+)", r"stages.\1.blocks.\2.mixer.norm.\3"),
    Rule(_BLOCK + r"mixer\.m\.qkv\.(c|bn)\.(.+)", _pair(r"stages.\1.blocks.\2.mixer.qkv", 3)),
    Rule(_BLOCK + r"mixer\.m\.proj\.1\.(c|bn)\.(.+)", _pair(r"stages.\1.blocks.\2.mixer.proj", 3)),
    Rule(_BLOCK + r"ffn\.m\.pw([12])\.(c|bn)\.(.+)", _pair(r"stages.\1.blocks.\2.ffn.fc\3", 4)),
    Rule(r"head\.bn\.(.+)", r"head.norm.\1"),
    Rule(r"head\.l\.(.+)", r"head.fc.\1"),
]

FORMATS = [
    Format("SHViT (timm)", lambda names: "stages.0.blocks.0.conv.m.c.weight" in names, RULES),
    Format("SHViT (official)", lambda names: "blocks1.0.conv.m.c.weight" in names, RULES, prepare=_as_timm),
]


def _arguments(ours: Configuration, image_size: tuple[int, int]) -> dict[str, Any]:
    dims = list(ours["dims"])
    for stage, (width, following) in enumerate(pairwise(dims), start=1):
        if width == following:
            raise ConfigError(
                f"timm's SHViT does not downsample before stage {stage + 1}, which is as wide as the last"
            )
    return {"embed_dim": dims, "depth": list(ours["depths"]), "partial_dim": [max(3 * dim // 14, 1) for dim in dims]}


TWINS = [Twin("SHViT", like="shvit_s1", architecture="shvit_s1", free=("dims", "depths"), arguments=_arguments)]
