"""GC ViT: the official code's names and timm's.

The official code keeps the downsampling layer at the end of a stage, timm and we at the start of the next one. Blocks
that take the global query call their layer ``qkv`` as well, although it makes k and v alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

from visionattn.errors import ConfigError
from visionattn.weights.formats import Format, Rule, flat_table, later_stage
from visionattn.weights.timm_counterpart import Configuration, Twin, per_stage

NewName = Callable[[re.Match[str]], str]


def _as_convolution(weight: Tensor, wanted: Tensor) -> Tensor:
    """The gate's linear layers are 1x1 convolutions here."""
    return weight[:, :, None, None] if weight.ndim == 2 else weight


def _projection(match: re.Match[str]) -> str:
    """Groups: stage, block, rest. Every second block makes keys and values alone."""
    name = "kv" if int(match[2]) % 2 else "qkv"
    return f"stages.{match[1]}.blocks.{match[2]}.mixer.{name}.{match[3]}"


def _query(prefix: str, first: int) -> NewName:
    """Groups: stage, number of the bottleneck counted from ``first``, part, rest."""
    return lambda m: f"stages.{m[1]}.global_query.blocks.{int(m[2]) - first}.{prefix}{m[3]}"


def _block(block: str) -> list[Rule]:
    return [
        Rule(block + r"(norm[12]\..+)", r"stages.\1.blocks.\2.\3"),
        Rule(block + r"attn\.qkv\.(.+)", _projection),
        Rule(block + r"attn\.(proj\..+)", r"stages.\1.blocks.\2.mixer.\3"),
        Rule(
            block + r"attn\.(?:rel_pos\.)?relative_position_bias_table",
            r"stages.\1.blocks.\2.mixer.bias_table",
            flat_table(),
        ),
        Rule(block + r"attn\.relative_position_index", None),
        Rule(block + r"mlp\.(.+)", r"stages.\1.blocks.\2.ffn.\3"),
        Rule(block + r"(?:ls|gamma)([12])(?:\.gamma)?", r"stages.\1.blocks.\2.scale\3.gamma"),
    ]


_TIMM_PARTS = {"conv_dw.": "depthwise.", "se.fc1.": "gate.fc1.", "se.fc2.": "gate.fc2.", "conv_pw.": "project."}
_OFFICIAL_PARTS = {"0.": "depthwise.", "2.fc.0.": "gate.fc1.", "2.fc.2.": "gate.fc2.", "3.": "project."}


def _timm() -> list[Rule]:
    rules = []
    for old, new in _TIMM_PARTS.items():
        part = re.escape(old) + "(.+)"
        rules += [
            Rule(r"stem\.down\.conv_block\." + part, rf"stem.down.mbconv.{new}\1"),
            Rule(r"stages\.(\d+)\.downsample\.conv_block\." + part, rf"stages.\1.downsample.mbconv.{new}\2"),
            Rule(r"stages\.(\d+)\.global_block\.blocks\.conv(\d+)\." + part, _query(new, first=1)),
        ]
    return [
        *rules,
        Rule(r"stem\.(conv1\..+)", r"stem.\1"),
        Rule(r"stem\.down\.(norm[12]\..+)", r"stem.down.\1"),
        Rule(r"stem\.down\.reduction\.(.+)", r"stem.down.conv.\1"),
        Rule(r"stages\.(\d+)\.downsample\.(norm[12]\..+)", r"stages.\1.downsample.\2"),
        Rule(r"stages\.(\d+)\.downsample\.reduction\.(.+)", r"stages.\1.downsample.conv.\2"),
        *_block(r"stages\.(\d+)\.blocks\.(\d+)\."),
        Rule(r"stages\.3\.norm\.(.+)", r"norm.\1"),
        Rule(r"head\.fc\.(.+)", r"head.fc.\1"),
    ]


def _official() -> list[Rule]:
    rules = []
    for old, new in _OFFICIAL_PARTS.items():
        part = re.escape(old) + "(.+)"
        rules += [
            Rule(r"patch_embed\.conv_down\.conv\." + part, rf"stem.down.mbconv.{new}\1", _as_convolution),
            Rule(r"levels\.(\d+)\.downsample\.conv\." + part, later_stage(f"downsample.mbconv.{new}"), _as_convolution),
            Rule(
                r"levels\.(\d+)\.q_global_gen\.to_q_global\.(\d+)\.conv\." + part, _query(new, first=0), _as_convolution
            ),
        ]
    return [
        *rules,
        Rule(r"patch_embed\.proj\.(.+)", r"stem.conv1.\1"),
        Rule(r"patch_embed\.conv_down\.(norm[12]\..+)", r"stem.down.\1"),
        Rule(r"patch_embed\.conv_down\.reduction\.(.+)", r"stem.down.conv.\1"),
        Rule(r"levels\.(\d+)\.downsample\.(norm[12]\..+)", later_stage("downsample.")),
        Rule(r"levels\.(\d+)\.downsample\.reduction\.(.+)", later_stage("downsample.conv.")),
        *_block(r"levels\.(\d+)\.blocks\.(\d+)\."),
        Rule(r"(norm\..+)", r"\1"),
        Rule(r"head\.(weight|bias)", r"head.fc.\1"),
    ]


FORMATS = [
    Format("GC ViT (timm)", lambda names: "stages.0.global_block.blocks.conv1.conv_dw.weight" in names, _timm()),
    Format(
        "GC ViT (official)", lambda names: "levels.0.q_global_gen.to_q_global.0.conv.0.weight" in names, _official()
    ),
]


def _arguments(ours: Configuration, image_size: tuple[int, int]) -> dict[str, Any]:
    """Halvings per stage: timm halves each stage's map until it is a window of the size that the model is built for."""
    windows = per_stage(ours, "mixers", "own", "window_size")
    for stage, (own, shared, halvings) in enumerate(
        zip(
            windows,
            per_stage(ours, "mixers", "shared", "window_size"),
            per_stage(ours, "mixers", "shared", "halvings"),
            strict=True,
        )
    ):
        needed = [own * 2**halvings * 4 * 2**stage] * 2
        if own != shared or list(image_size) != needed:
            raise ConfigError(
                f"timm's GC ViT ends at one window: stage {stage + 1} with windows of {own} and {shared} tokens and a "
                f"query halved {halvings} times would need images of {needed}, the model was trained on "
                f"{list(image_size)}"
            )
    return {"window_size": [[size, size] for size in windows], "img_size": list(image_size)}


TWINS = [  # timm's entry points fix the rest
    Twin(
        "GC ViT",
        like=name,
        architecture=name,
        free=("mixers.*.mixers.*.window_size", "mixers.*.mixers.shared.halvings"),
        arguments=_arguments,
    )
    for name in ("gcvit_xxtiny", "gcvit_xtiny", "gcvit_tiny", "gcvit_small", "gcvit_base")
]
