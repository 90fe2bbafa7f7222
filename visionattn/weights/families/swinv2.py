"""Swin V2: the names of the official code and of timm, which keeps a downsampling layer at the start of its stage.

The tables of coordinates and of positions, and the masks, are computed here and left out.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from visionattn.weights.families.swin import BLOCK
from visionattn.weights.formats import Format, Rule, later_stage
from visionattn.weights.timm_counterpart import Configuration, Twin, doubling, one_for_all, per_stage

_SCALE = "layers.0.blocks.0.attn.logit_scale"
_DOWNSAMPLE_AT_THE_END = "layers.0.downsample.reduction.weight"
_OURS = r"stages.\1.blocks.\2."


def _flat(tensor: Tensor, wanted: Tensor) -> Tensor:
    return tensor.flatten()


_SHARED = [
    Rule(r"patch_embed\.proj\.(.+)", r"stem.conv1.\1"),
    Rule(r"patch_embed\.norm\.(.+)", r"stem.norm.\1"),
    Rule(BLOCK + r"(norm[12]\..+)", _OURS + r"\3"),
    Rule(BLOCK + r"attn\.((?:qkv|proj)\..+)", _OURS + r"mixer.\3"),
    Rule(BLOCK + r"attn\.([qv]_bias)", _OURS + r"mixer.qkv.\3"),
    Rule(BLOCK + r"attn\.logit_scale", _OURS + r"mixer.logit_scale", _flat),
    Rule(BLOCK + r"attn\.cpb_mlp\.(.+)", _OURS + r"mixer.bias.network.\3"),
    Rule(BLOCK + r"(?:attn\.(?:relative_position_index|relative_coords_table|k_bias)|attn_mask)", None),
    Rule(r"mask_token", None),  # of pretraining by masked images (SimMIM)
    Rule(BLOCK + r"mlp\.(.+)", _OURS + r"ffn.\3"),
    Rule(r"norm\.(.+)", r"norm.\1"),
    Rule(r"head\.(?:fc\.)?(weight|bias)", r"head.fc.\1"),
]

FORMATS = [
    Format(
        "Swin Transformer V2 (official)",
        lambda names: _SCALE in names and _DOWNSAMPLE_AT_THE_END in names,
        [*_SHARED, Rule(r"layers\.(\d+)\.downsample\.(.+)", later_stage("downsample."))],
    ),
    Format(
        "Swin Transformer V2 (timm)",
        lambda names: _SCALE in names and _DOWNSAMPLE_AT_THE_END not in names,
        [*_SHARED, Rule(r"layers\.(\d+)\.downsample\.(.+)", r"stages.\1.downsample.\2")],
    ),
]


def _arguments(ours: Configuration, image_size: tuple[int, int]) -> dict[str, Any]:
    return {
        "embed_dim": doubling(ours),
        "depths": list(ours["depths"]),
        "num_heads": list(ours["num_heads"]),
        "window_size": one_for_all(ours, "window_size"),
        "pretrained_window_sizes": [window or 0 for window in per_stage(ours, "trained_window")],
        "mlp_ratio": ours["block"]["mlp_ratio"],
        "img_size": list(image_size),
    }


TWINS = [
    Twin(
        "Swin Transformer V2",
        like="swinv2_tiny_window8_256",
        architecture="swinv2_tiny_window8_256",
        free=(
            "dims",
            "depths",
            "num_heads",
            "block.mlp_ratio",
            "mixers.*.window_size",
            "mixers.*.trained_window",
        ),
        arguments=_arguments,
    )
]
