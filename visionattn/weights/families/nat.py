"""NAT and DiNAT: the official code's names. Dilation has no weights, so the two are one format.

The detection and segmentation code has a norm for each feature; that of the last one is our last norm.
"""

from __future__ import annotations

from visionattn.weights.formats import Format, Rule, later_stage

_BLOCK = r"levels\.(\d+)\.blocks\.(\d+)\."

FORMATS = [
    Format(
        "NAT / DiNAT (official)",
        lambda names: "levels.0.blocks.0.attn.rpb" in names,
        [
            Rule(r"patch_embed\.proj\.0\.(.+)", r"stem.conv1.\1"),
            Rule(r"patch_embed\.proj\.1\.(.+)", r"stem.conv2.\1"),
            Rule(r"patch_embed\.norm\.(.+)", r"stem.norm.\1"),
            Rule(_BLOCK + r"(norm[12]\..+)", r"stages.\1.blocks.\2.\3"),
            Rule(_BLOCK + r"attn\.((?:qkv|proj)\..+)", r"stages.\1.blocks.\2.mixer.\3"),
            Rule(_BLOCK + r"attn\.rpb", r"stages.\1.blocks.\2.mixer.bias_table"),
            Rule(_BLOCK + r"mlp\.(.+)", r"stages.\1.blocks.\2.ffn.\3"),
            Rule(_BLOCK + r"gamma([12])", r"stages.\1.blocks.\2.scale\3.gamma"),
            Rule(r"levels\.(\d+)\.downsample\.reduction\.(.+)", later_stage("downsample.conv.")),
            Rule(r"levels\.(\d+)\.downsample\.norm\.(.+)", later_stage("downsample.norm.")),
            Rule(r"norm3?\.(.+)", r"norm.\1"),
            Rule(r"norm[012]\..+", None),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
        ],
    )
]
