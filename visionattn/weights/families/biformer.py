"""BiFormer: the names of the official code, and those of its variant in Swin's layout.

Two refactored classes of the official code (``nchw``) use other names and, in the last stage, another function.
"""

from __future__ import annotations

import re

from visionattn.weights.formats import Format, Rule, with_counters

_BLOCK = r"stages\.(\d)\.(?:blocks\.)?(\d+)\."
_OURS = r"stages.\1.blocks.\2."


def _stem(match: re.Match[str]) -> str:
    """Convolution, norm and activation follow each other."""
    number, part = divmod(int(match[1]), 3)
    return f"stem.{('conv', 'norm')[part]}{number + 1}.{match[2]}"


_BLOCKS = [
    Rule(_BLOCK + r"pos_embed\.(.+)", _OURS + r"position1.conv.\3"),
    Rule(_BLOCK + r"(norm[12])\.(.+)", _OURS + r"\3.\4"),
    Rule(_BLOCK + r"attn\.qkv\.(?:qkv\.)?(.+)", _OURS + r"mixer.qkv.\3"),
    Rule(_BLOCK + r"attn\.(?:wo|proj)\.(.+)", _OURS + r"mixer.proj.\3"),
    Rule(_BLOCK + r"attn\.lepe\.(.+)", _OURS + r"mixer.position.\3"),
    Rule(_BLOCK + r"mlp\.0\.(.+)", _OURS + r"ffn.fc1.\3"),
    Rule(_BLOCK + r"mlp\.[23]\.(.+)", _OURS + r"ffn.fc2.\3"),
    Rule(r"norm\.(.+)", r"norm.\1"),
    Rule(r"head\.(weight|bias)", r"head.fc.\1"),
]
FORMATS = [
    Format(
        "BiFormer (official)",
        lambda names: "downsample_layers.0.3.weight" in names and "stages.0.0.attn.qkv.qkv.weight" in names,
        [
            Rule(r"downsample_layers\.0\.(\d)\.(.+)", _stem),
            Rule(r"downsample_layers\.(\d)\.0\.(.+)", r"stages.\1.downsample.conv.\2"),
            Rule(r"downsample_layers\.(\d)\.1\.(.+)", r"stages.\1.downsample.norm.\2"),
            *_BLOCKS,
        ],
        prepare=with_counters,
    ),
    Format(
        "BiFormer in Swin's layout (official)",
        lambda names: "downsample_layers.0.1.weight" in names and "stages.0.blocks.0.attn.qkv.qkv.weight" in names,
        [
            Rule(r"downsample_layers\.0\.0\.(.+)", r"stem.conv1.\1"),
            Rule(r"downsample_layers\.0\.1\.(.+)", r"stem.norm.\1"),
            Rule(r"downsample_layers\.(\d)\.0\.(.+)", r"stages.\1.downsample.norm.\2"),
            Rule(r"downsample_layers\.(\d)\.1\.(.+)", r"stages.\1.downsample.conv.\2"),
            *_BLOCKS,
        ],
        prepare=with_counters,
    ),
]
