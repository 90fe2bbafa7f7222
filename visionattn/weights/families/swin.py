"""Names of Swin's weights.

They are the official code's, timm's, OpenMMLab's (mmdetection, mmsegmentation, mmpretrain) and Hugging Face
transformers', and those of DiNAT_s, which is Swin with another attention.

All but timm and us keep the downsampling layer at the end of a stage, not at the start of the next one. The detection
and segmentation code has a norm for each feature; that of the last one is our last norm, the others are not ours.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from visionattn.weights.formats import Format, Rule, flat_table, later_stage
from visionattn.weights.read import StateDict
from visionattn.weights.timm_counterpart import Configuration, Twin, doubling, per_stage

BLOCK = r"layers\.(\d+)\.blocks\.(\d+)\."
_TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"
_RPB = "layers.0.blocks.0.attn.rpb"
CONTENT = "layers.0.blocks.1.attnC.qkv.weight"
"""BOAT's Swin has it beside Swin's names."""
_DOWNSAMPLE_AT_THE_END = "layers.0.downsample.reduction.weight"

_LAST = [
    Rule(r"norm3?\.(.+)", r"norm.\1"),
    Rule(r"norm[012]\..+", None),
    Rule(r"head\.(?:fc\.)?(weight|bias)", r"head.fc.\1"),
]
_SHARED = [
    Rule(r"patch_embed\.proj\.(.+)", r"stem.conv1.\1"),
    Rule(r"patch_embed\.norm\.(.+)", r"stem.norm.\1"),
    Rule(BLOCK + r"(norm[12]\..+)", r"stages.\1.blocks.\2.\3"),
    Rule(BLOCK + r"attn\.((?:qkv|proj)\..+)", r"stages.\1.blocks.\2.mixer.\3"),
    Rule(BLOCK + r"mlp\.(.+)", r"stages.\1.blocks.\2.ffn.\3"),
    Rule(BLOCK + r"attn\.relative_position_bias_table", r"stages.\1.blocks.\2.mixer.bias_table", flat_table()),
    Rule(BLOCK + r"attn\.rpb", r"stages.\1.blocks.\2.mixer.bias_table"),
    Rule(BLOCK + r"(?:attn\.relative_position_index|attn_mask)", None),
    Rule(r"mask_token", None),  # of pretraining by masked images (SimMIM)
    *_LAST,
]
_AT_THE_END = Rule(r"layers\.(\d+)\.downsample\.(.+)", later_stage("downsample."))
OFFICIAL = [*_SHARED, _AT_THE_END]
"""The official code's names."""
_AT_THE_START = Rule(r"layers\.(\d+)\.downsample\.(.+)", r"stages.\1.downsample.\2")


def _cell_order(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Reorder OpenMMLab's merged patches, last axis ``4 * C``.

    OpenMMLab merges by ``nn.Unfold``: the four tokens (0,0), (0,1), (1,0), (1,1) of a channel stand side by side. Ours
    are four maps (0,0), (1,0), (0,1), (1,1) one after the other.
    """
    return tensor.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)


_MM = r"stages\.(\d+)\.blocks\.(\d+)\."
_OPENMMLAB = [
    Rule(r"patch_embed\.projection\.(.+)", r"stem.conv1.\1"),
    Rule(r"patch_embed\.norm\.(.+)", r"stem.norm.\1"),
    Rule(_MM + r"(norm[12]\..+)", r"stages.\1.blocks.\2.\3"),
    Rule(_MM + r"attn\.w_msa\.((?:qkv|proj)\..+)", r"stages.\1.blocks.\2.mixer.\3"),
    Rule(_MM + r"attn\.w_msa\.relative_position_bias_table", r"stages.\1.blocks.\2.mixer.bias_table", flat_table()),
    Rule(_MM + r"attn\.w_msa\.relative_position_index", None),
    Rule(_MM + r"ffn\.layers\.0\.0\.(.+)", r"stages.\1.blocks.\2.ffn.fc1.\3"),
    Rule(_MM + r"ffn\.layers\.1\.(.+)", r"stages.\1.blocks.\2.ffn.fc2.\3"),
    Rule(r"stages\.(\d+)\.downsample\.((?:norm|reduction)\..+)", later_stage("downsample."), _cell_order),
    *_LAST,
]

_HF = r"(?:swin\.)?encoder\.layers\.(\d+)\.blocks\.(\d+)\."
_TRANSFORMERS = [
    Rule(r"(?:swin\.)?embeddings\.patch_embeddings\.projection\.(.+)", r"stem.conv1.\1"),
    Rule(r"(?:swin\.)?embeddings\.norm\.(.+)", r"stem.norm.\1"),
    Rule(_HF + r"layernorm_before\.(.+)", r"stages.\1.blocks.\2.norm1.\3"),
    Rule(_HF + r"layernorm_after\.(.+)", r"stages.\1.blocks.\2.norm2.\3"),
    Rule(_HF + r"attention\.(qkv\..+)", r"stages.\1.blocks.\2.mixer.\3"),
    Rule(_HF + r"attention\.(?:o_proj|output\.dense)\.(.+)", r"stages.\1.blocks.\2.mixer.proj.\3"),
    Rule(
        _HF + r"attention\.(?:self|relative_position_bias)\.relative_position_bias_table",
        r"stages.\1.blocks.\2.mixer.bias_table",
        flat_table(),
    ),
    Rule(_HF + r"attention\.(?:self\.|relative_position_bias\.)?relative_position_index", None),
    Rule(_HF + r"(?:mlp\.fc1|intermediate\.dense)\.(.+)", r"stages.\1.blocks.\2.ffn.fc1.\3"),
    Rule(_HF + r"(?:mlp\.fc2|output\.dense)\.(.+)", r"stages.\1.blocks.\2.ffn.fc2.\3"),
    Rule(r"(?:swin\.)?encoder\.layers\.(\d+)\.downsample\.(.+)", later_stage("downsample.")),
    Rule(r"(?:(?:swin\.)?layernorm|hidden_states_norms\.stage4)\.(.+)", r"norm.\1"),
    Rule(r"hidden_states_norms\.stage[123]\..+", None),
    Rule(r"classifier\.(weight|bias)", r"head.fc.\1"),
]


def _join_projections(state: StateDict) -> StateDict:
    """Query, key and value are one in ours. Of a backbone's two last norms the feature's is the one that is used."""
    renamed, parts = StateDict(), dict[str, StateDict]()
    features = any(name.startswith("hidden_states_norms.") for name in state)
    for name, tensor in state.items():
        one = re.fullmatch(r"(.+\.attention\.)(?:self\.)?([qkv])(?:uery|ey|alue|_proj)\.(weight|bias)", name)
        if one is not None:
            parts.setdefault(f"{one[1]}qkv.{one[3]}", {})[one[2]] = tensor
        elif not (features and name.removeprefix("swin.").startswith("layernorm.")):
            renamed[name] = tensor
    whole = {name: one for name, one in parts.items() if set(one) == set("qkv")}
    return renamed | {name: torch.cat([one[part] for part in "qkv"]) for name, one in whole.items()}


FORMATS = [
    Format(
        "Swin Transformer (official)",
        lambda names: _TABLE in names and _DOWNSAMPLE_AT_THE_END in names and CONTENT not in names,
        OFFICIAL,
    ),
    Format(
        "Swin Transformer (timm)",
        lambda names: _TABLE in names and _DOWNSAMPLE_AT_THE_END not in names,
        [*_SHARED, _AT_THE_START],
    ),
    Format(
        "Swin Transformer (OpenMMLab)", lambda names: "stages.0.blocks.0.attn.w_msa.qkv.weight" in names, _OPENMMLAB
    ),
    Format(
        "Swin Transformer (transformers)",
        lambda names: any(name.endswith("encoder.layers.0.blocks.0.layernorm_before.weight") for name in names),
        _TRANSFORMERS,
        _join_projections,
    ),
    Format("DiNAT_s (official)", lambda names: _RPB in names, OFFICIAL),
]


def _arguments(ours: Configuration, image_size: tuple[int, int]) -> dict[str, Any]:
    windows = [size if isinstance(size, int) else list(size) for size in per_stage(ours, "window_size")]
    return {
        "embed_dim": doubling(ours),
        "depths": list(ours["depths"]),
        "num_heads": list(ours["num_heads"]),
        "window_size": [[size, size] if isinstance(size, int) else size for size in windows],
        "mlp_ratio": ours["block"]["mlp_ratio"],
        "img_size": list(image_size),
    }


TWINS = [
    Twin(
        "Swin Transformer",
        like="swin_tiny",
        architecture="swin_tiny_patch4_window7_224",
        free=("dims", "depths", "num_heads", "block.mlp_ratio", "mixers.*.window_size"),
        arguments=_arguments,
    )
]
