"""RMT and PPMA: the names of the official code, which are nearly the same.

Queries, keys and values have a linear layer each, which are one here. The angles and decays of a stage are no
parameters. The detection and segmentation code has a norm for each map and no classifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from visionattn.weights.formats import Format, Rule, later_stage, with_counters
from visionattn.weights.read import StateDict

_BLOCK = r"layers\.(\d)\.blocks\.(\d+)\."
_STEM = r"patch_embed\.proj\.(\d+)\.(.+)"
_QUERY = re.compile(_BLOCK + r"retention\.q_proj\.(weight|bias)")
_PARTS = {
    r"retention_layer_norm": "norm1",
    r"final_layer_norm": "norm2",
    r"pos\.conv": "position1.conv",
    r"ffn\.(fc[12])": r"ffn.\3",
    r"ffn\.dwconv\.conv": "ffn.conv",
    r"retention\.qkv": "mixer.qkv",
    r"retention\.lepe\.conv": "mixer.position",
    r"retention\.out_proj": "mixer.proj",
    r"retention\.path_embed\.dt_linear": "mixer.step",
}


def _prepare(state: StateDict) -> StateDict:
    """The three projections as one."""
    for name in [name for name in state if _QUERY.fullmatch(name)]:
        parts = [state.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        state[name.replace("q_proj", "qkv")] = torch.cat(parts)
    return with_counters(state)


def _stem(match: re.Match[str]) -> str:
    """Convolution, norm and activation follow each other."""
    convolution, part = divmod(int(match[1]), 3)
    return f"stem.{('conv', 'norm')[part]}{convolution + 1}.{match[2]}"


def _inside(new: str) -> Callable[[re.Match[str]], str]:
    """Groups: stage, block, those of the part, the rest of the name."""
    return lambda match: match.expand(rf"stages.\1.blocks.\2.{new}.") + match[match.re.groups]


FORMATS = [
    Format(
        "RMT or PPMA (official)",
        lambda names: "layers.0.blocks.0.retention.q_proj.weight" in names,
        [
            Rule(_STEM, _stem),
            *(Rule(_BLOCK + old + r"\.(weight|bias)", _inside(new)) for old, new in _PARTS.items()),
            Rule(_BLOCK + r"retention\.path_embed\.dt_bias", r"stages.\1.blocks.\2.mixer.step_bias"),
            Rule(_BLOCK + r"retention\.path_embed\.A_log", r"stages.\1.blocks.\2.mixer.log_decay"),
            Rule(_BLOCK + r"gamma_([12])", r"stages.\1.blocks.\2.scale\3.gamma", lambda gamma, _: gamma.flatten()),
            Rule(r"layers\.(\d)\.downsample\.reduction\.(.+)", later_stage("downsample.conv.")),
            Rule(r"layers\.(\d)\.downsample\.norm\.(.+)", later_stage("downsample.norm.")),
            Rule(r"layers\.\d\.Relpos\.(angle|decay)", None),
            Rule(r"proj\.(.+)", r"head.proj.\1"),
            Rule(r"norm\.(.+)", r"head.norm.\1"),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
        ],
        prepare=_prepare,
    )
]
