"""TransNeXt and MoH-ViT: the names of the official code, which counts stages from 1."""

from __future__ import annotations

import re
from collections.abc import Callable

from visionattn.weights.families.agent import join_keys
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
_BLOCK = r"block(\d)\.(\d+)\."


def _of(rest: str) -> Callable[[re.Match[str]], str]:
    """``rest`` is a template; the last group ends the name."""
    return lambda match: f"stages.{int(match[1]) - 1}." + match.expand(rest) + match.groups()[-1]


def _parameter(old: str, ours: str) -> Rule:
    """A parameter of an attention, which has an axis of one token there."""

    def named(match: re.Match[str]) -> str:
        return f"stages.{int(match[1]) - 1}.blocks.{match[2]}.mixer.{ours}"

    return Rule(_BLOCK + rf"attn\.{old}", named, lambda tensor, wanted: tensor.squeeze(1))


FORMATS = [
    Format(
        "TransNeXt or MoH-ViT (official)",
        lambda names: "block1.0.attn.relative_pos_bias_local" in names,
        [
            Rule(r"patch_embed1\.proj\.(.+)", r"stem.conv1.\1"),
            Rule(r"patch_embed1\.norm\.(.+)", r"stem.norm.\1"),
            Rule(r"patch_embed(\d)\.proj\.(.+)", _of("downsample.conv.")),
            Rule(r"patch_embed(\d)\.norm\.(.+)", _of("downsample.norm.")),
            Rule(r"norm(\d)\.(.+)", _of("norm.")),
            Rule(_BLOCK + r"(norm[12]\..+)", _of(r"blocks.\2.")),
            *(_parameter(old, ours) for old, ours in _PARAMETERS.items()),
            *(Rule(_BLOCK + rf"attn\.{old}(.+)", _of(rf"blocks.\2.mixer.{new}")) for old, new in _ATTENTION.items()),
            Rule(_BLOCK + r"mlp\.dwconv\.dwconv\.(.+)", _of(r"blocks.\2.ffn.conv.")),
            Rule(_BLOCK + r"mlp\.(fc[12]\..+)", _of(r"blocks.\2.ffn.")),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
        ],
        join_keys,
    )
]
