"""Agent attention's PVT, Swin and CSWin: the names of the official code.

Names are those of the hosts; beside them each attention has its biases. PVT has queries apart from keys and values. In
the detection and segmentation code the names are the same, without a classifier and with Swin's norm of each feature.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from visionattn.weights.families import cswin, swin
from visionattn.weights.families.favit import BLOCK, PYRAMID, of_stage
from visionattn.weights.formats import Format, NewValue, Rule
from visionattn.weights.read import StateDict

_BIASES: dict[str, tuple[str, NewValue | None]] = {
    "an": ("gathering.coarse", None),  # (N, A, 7, 7), as ours
    "ah": ("gathering.rows", lambda tensor, wanted: tensor[0, ..., 0]),  # (1, N, A, H, 1)
    "aw": ("gathering.columns", lambda tensor, wanted: tensor[0, :, :, 0]),  # (1, N, A, 1, W)
    "na": ("spreading.coarse", None),
    "ha": ("spreading.rows", lambda tensor, wanted: tensor[0, :, :, 0].transpose(1, 2)),  # (1, N, H, 1, A)
    "wa": ("spreading.columns", lambda tensor, wanted: tensor[0, :, 0].transpose(1, 2)),  # (1, N, 1, W, A)
}


def _biases(block: str, first: int) -> list[Rule]:
    """Rules of an attention's biases; the groups of ``block`` are stage and block, stages counted from ``first``."""

    def named(part: str) -> Callable[[re.Match[str]], str]:
        return lambda match: f"stages.{int(match[1]) - first}.blocks.{match[2]}.mixer.{part}"

    return [Rule(rf"{block}{key}_bias", named(part), value) for key, (part, value) in _BIASES.items()]


def join_keys(state: StateDict) -> StateDict:
    """Queries, keys and values of PVT and its successors in one projection."""
    joined = StateDict()
    for name, tensor in state.items():
        if match := re.fullmatch(r"(.+\.attn\.)q\.(weight|bias)", name):
            if (other := f"{match[1]}kv.{match[2]}") in state:
                name, tensor = f"{match[1]}qkv.{match[2]}", torch.cat([tensor, state[other]])
        elif re.fullmatch(r".+\.attn\.kv\.(weight|bias)", name) and name.replace(".kv.", ".q.") in state:
            continue
        joined[name] = tensor
    return joined


def _square(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Positions ``(1, side * side, C)`` as a map."""
    side = round(tensor.shape[1] ** 0.5)
    return tensor[0].unflatten(0, (side, side)) if side * side == tensor.shape[1] else tensor


_PVT = [
    Rule(r"pos_embed(\d)", lambda match: f"stages.{int(match[1]) - 1}.position.table", _square),
    *_biases(BLOCK + r"attn\.", 1),
    Rule(BLOCK + r"attn\.((?:qkv|proj)\..+)", of_stage(r"blocks.\2.mixer.")),
    Rule(BLOCK + r"attn\.dwc\.(.+)", of_stage(r"blocks.\2.mixer.position.")),
    *PYRAMID,
]

FORMATS = [
    Format("Agent-PVT (official)", lambda names: "block1.0.attn.an_bias" in names, _PVT, join_keys),
    Format(
        "Agent-Swin (official)",
        lambda names: "layers.0.blocks.0.attn.an_bias" in names,
        [
            *_biases(swin.BLOCK + r"attn\.", 0),
            Rule(swin.BLOCK + r"attn\.dwc\.(.+)", r"stages.\1.blocks.\2.mixer.position.\3"),
            *swin.OFFICIAL,
        ],
    ),
    Format(
        "Agent-CSWin (official)",
        lambda names: cswin.AGENTS in names,
        [*_biases(cswin.BLOCK + r"attns\.0\.", 1), *cswin.RULES],
        cswin.name_branches,
    ),
]
