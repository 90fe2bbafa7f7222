"""MaxViT: timm's names for the published weights (those it calls ``tf``, ported from the official TensorFlow code).

A unit of theirs holds a bottleneck and two attention blocks; ours are three blocks in a row, and the bottleneck that
opens a stage is the downsampling layer, or in the first stage the end of the stem.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from visionattn.errors import ConfigError
from visionattn.weights.formats import Format, Rule
from visionattn.weights.timm_counterpart import Configuration, Twin, one_for_all

_UNIT = r"stages\.(\d+)\.blocks\.(\d+)\."
_BLOCK = _UNIT + r"attn_(block|grid)\."
_PARTS = {
    "shortcut.expand": "shortcut",
    "pre_norm": "norm",
    "conv1_1x1": "expand",
    "norm1": "norm1",
    "conv2_kxk": "depthwise",
    "norm2": "norm2",
    "se.fc1": "gate.fc1",
    "se.fc2": "gate.fc2",
    "conv3_1x1": "project",
}


def _bottleneck(match: re.Match[str]) -> str:
    stage, unit, part, rest = int(match[1]), int(match[2]), _PARTS[match[3]], match[4]
    if unit:
        return f"stages.{stage}.blocks.{3 * unit - 1}.{part}.{rest}"
    return f"stages.{stage}.downsample.{part}.{rest}" if stage else f"stem.down.{part}.{rest}"


def _block(rest: str) -> Callable[[re.Match[str]], str]:
    """Groups: stage, unit, which attention, and what ``rest`` uses."""
    return lambda match: match.expand(rf"stages.\1.blocks.{3 * int(match[2]) + (match[3] == 'grid')}.{rest}")


FORMATS = [
    Format(
        "MaxViT (timm)",
        lambda names: "stages.0.blocks.0.attn_grid.attn.qkv.weight" in names,
        [
            Rule(r"stem\.((?:conv1|norm1|conv2)\..+)", r"stem.\1"),
            Rule(_UNIT + rf"conv\.({'|'.join(map(re.escape, _PARTS))})\.(.+)", _bottleneck),
            Rule(_BLOCK + r"(norm[12]\..+)", _block(r"\4")),
            Rule(_BLOCK + r"attn\.((?:qkv|proj)\..+)", _block(r"mixer.\4")),
            Rule(_BLOCK + r"attn\.rel_pos\.relative_position_bias_table", _block("mixer.bias_table")),
            Rule(_BLOCK + r"mlp\.(.+)", _block(r"ffn.\4")),
            Rule(r"(head\.(?:norm|pre_logits\.fc|fc)\..+)", r"\1"),
        ],
    )
]


def _arguments(ours: Configuration, image_size: tuple[int, int]) -> dict[str, Any]:
    widths = {dim / heads for dim, heads in zip(ours["dims"], ours["num_heads"], strict=True)}
    if len(widths) > 1:
        raise ConfigError(f"timm's MaxViT has heads of one width, this one has widths {sorted(widths)}")
    return {
        "embed_dim": list(ours["dims"]),
        "depths": list(ours["depths"]),
        "block_type": ["M"] * len(ours["dims"]),
        "stem_width": ours["stem"]["width"],
        "head_hidden_size": ours["dims"][-1],
        "transformer_dim_head": int(widths.pop()),
        "transformer_window_size": [one_for_all(ours, "mixers", "window", "window_size")] * 2,
        "transformer_grid_size": [one_for_all(ours, "mixers", "grid", "grid_size")] * 2,
        "img_size": list(image_size),
    }


TWINS = [
    Twin(
        "MaxViT",
        like="maxvit_tiny",
        architecture="maxvit_tiny_tf_224",
        free=(
            *("dims", "depths", "num_heads", "stem.width"),
            *("mixers.*.mixers.window.window_size", "mixers.*.mixers.grid.grid_size"),
        ),
        arguments=_arguments,
    )
]
