"""Swin: the official code's names and timm's, and those of DiNAT_s, which is Swin with another attention.

The official projects keep the downsampling layer at the end of a stage, timm and we at the start of the next one.
"""

from __future__ import annotations

from visionattn.weights.formats import Format, Rule, flat_table, later_stage

BLOCK = r"layers\.(\d+)\.blocks\.(\d+)\."
_TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
_RPB = "layers.0.blocks.0.attn.rpb"
_DOWNSAMPLE_AT_THE_END = "layers.0.downsample.reduction.weight"

_SHARED = [
    Rule(r"patch_embed\.proj\.(.+)", r"stem.conv1.\1"),
    Rule(r"patch_embed\.norm\.(.+)", r"stem.norm.\1"),
    Rule(BLOCK + r"(norm[12]\..+)", r"stages.\1.blocks.\2.\3"),
    Rule(BLOCK + r"attn\.((?:qkv|proj)\..+)", r"stages.\1.blocks.\2.mixer.\3"),
    Rule(BLOCK + r"mlp\.(.+)", r"stages.\1.blocks.\2.ffn.\3"),
    Rule(BLOCK + r"attn\.relative_position_bias_table", r"stages.\1.blocks.\2.mixer.bias_table", flat_table()),
    Rule(BLOCK + r"attn\.rpb", r"stages.\1.blocks.\2.mixer.bias_table"),
    Rule(BLOCK + r"(?:attn\.relative_position_index|attn_mask)", None),
    Rule(r"(norm\..+)", r"\1"),
    Rule(r"head\.(?:fc\.)?(weight|bias)", r"head.fc.\1"),
]
_AT_THE_END = Rule(r"layers\.(\d+)\.downsample\.(.+)", later_stage("downsample."))
_AT_THE_START = Rule(r"layers\.(\d+)\.downsample\.(.+)", r"stages.\1.downsample.\2")

FORMATS = [
    Format(
        "Swin Transformer (official)",
        lambda names: _TABLE in names and _DOWNSAMPLE_AT_THE_END in names,
        [*_SHARED, _AT_THE_END],
    ),
    Format(
        "Swin Transformer (timm)",
        lambda names: _TABLE in names and _DOWNSAMPLE_AT_THE_END not in names,
        [*_SHARED, _AT_THE_START],
    ),
    Format("DiNAT_s (official)", lambda names: _RPB in names, [*_SHARED, _AT_THE_END]),
]
