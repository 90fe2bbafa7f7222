"""TransNeXt and MoH-ViT: the names of the official code, which counts stages from 1."""

from __future__ import annotations

import re

from visionattn.weights.families.agent import join_keys
from visionattn.weights.families.favit import BLOCK, PYRAMID, of_stage
from visionattn.weights.formats import Format, Rule

_ATTENTION = {
    r"(qkv|proj|norm)\.": r"\3.",
    r"sr\.": "reduce.",
    r"cpb_fc1\.": "bias.network.0.",
    r"cpb_fc2\.": "bias.network.2.",
    r"wg\.": "gate.score.",
    r"wg_0\.": "gate.weigh_groups.",
    r"wg_1\.": "gate.weigh_shared.",
}
_PARAMETERS = {
    "temperature": "temperature",
    "query_embedding": "query_embedding",
    "relative_pos_bias_local": "local_bias",
    "learnable_tokens": "places",
    "learnable_bias": "place_bias",
}


def _parameter(old: str, ours: str) -> Rule:
    """A parameter of an attention, which has an axis of one token there."""

    def named(match: re.Match[str]) -> str:
        return f"stages.{int(match[1]) - 1}.blocks.{match[2]}.mixer.{ours}"

    return Rule(BLOCK + rf"attn\.{old}", named, lambda tensor, wanted: tensor.squeeze(1))


FORMATS = [
    Format(
        "TransNeXt or MoH-ViT (official)",
        lambda names: "block1.0.attn.relative_pos_bias_local" in names,
        [
            *(_parameter(old, ours) for old, ours in _PARAMETERS.items()),
            *(
                Rule(BLOCK + rf"attn\.{old}(.+)", of_stage(rf"blocks.\2.mixer.{new}"))
                for old, new in _ATTENTION.items()
            ),
            *PYRAMID,
        ],
        join_keys,
    )
]
