"""MAViT: the names of the official code, whose class is called MALA.

Pointwise convolutions are linear layers here. The angles of a stage are no parameters. The detection and segmentation
code has a norm for each map and no classifier.
"""

from __future__ import annotations

import re

from torch import Tensor

from visionattn.weights.formats import Format, Rule, as_linear, later_stage, with_counters

_BLOCK = r"layers\.(\d)\.blocks\.(\d+)\."
_OURS = r"stages.\1.blocks.\2."


def _stem(match: re.Match[str]) -> str:
    """Convolution, norm and activation follow each other."""
    number, part = divmod(int(match[1]), 3)
    return f"stem.{('conv', 'norm')[part]}{number + 1}.{match[2]}"


def _flat(gamma: Tensor, wanted: Tensor) -> Tensor:
    return gamma.flatten()


FORMATS = [
    Format(
        "MAViT (official)",
        lambda names: "layers.0.blocks.0.attn.qkvo.weight" in names,
        [
            Rule(r"patch_embed\.proj\.(\d+)\.(.+)", _stem),
            Rule(_BLOCK + r"pos\.(.+)", _OURS + r"position1.conv.\3"),
            Rule(_BLOCK + r"(norm[12])\.norm\.(.+)", _OURS + r"\3.\4"),
            Rule(_BLOCK + r"gamma_([12])", _OURS + r"scale\3.gamma", _flat),
            Rule(_BLOCK + r"attn\.qkvo\.(.+)", _OURS + r"mixer.qkv.\3", as_linear),
            Rule(_BLOCK + r"attn\.proj\.(.+)", _OURS + r"mixer.proj.\3", as_linear),
            Rule(_BLOCK + r"attn\.lepe\.(.+)", _OURS + r"mixer.position.\3"),
            Rule(_BLOCK + r"ffn\.(fc[12])\.(.+)", _OURS + r"ffn.\3.\4", as_linear),
            Rule(_BLOCK + r"ffn\.dwconv\.(.+)", _OURS + r"ffn.conv.\3"),
            Rule(r"layers\.(\d)\.downsample\.reduction\.(.+)", later_stage("downsample.conv.")),
            Rule(r"layers\.(\d)\.downsample\.norm\.(.+)", later_stage("downsample.norm.")),
            Rule(r"layers\.\d\.RoPE\.angle", None),
            Rule(r"proj\.(.+)", r"head.proj.\1", as_linear),
            Rule(r"norm\.(.+)", r"head.norm.\1"),
            Rule(r"head\.(weight|bias)", r"head.fc.\1", as_linear),
        ],
        prepare=with_counters,
    )
]
