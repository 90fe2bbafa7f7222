"""FasterViT: the names of the official code, for one resolution and for any.

Its caches (``relative_bias`` and the coordinates they are made from) are left out, and so is the second name that it
has for the convolution of the carrier tokens. A list without the batch norms' counters gets them.
"""

from __future__ import annotations

from visionattn.weights.formats import Format, Rule, later_stage, with_counters
from visionattn.weights.read import StateDict

_BLOCK = r"levels\.(\d+)\.blocks\.(\d+)\."
_OURS = r"stages.\1.blocks.\2."
_BIAS = r"pos_emb_funct\.cpb_mlp\.(.+)"


def _prepare(state: StateDict) -> StateDict:
    """Blocks with carriers keep the window's part under another name than blocks without."""
    with_carriers = {name.partition(".hat_norm1.")[0] for name in state if ".hat_norm1." in name}
    named = {}
    for name, value in state.items():
        block, dot, rest = name.partition(".attn.")
        named[f"{block}.joint_attn.{rest}" if dot and block in with_carriers else name] = value
    return with_counters(named)


FORMATS = [
    Format(
        "FasterViT (official)",
        lambda names: "patch_embed.conv_down.0.weight" in names and "levels.0.blocks.0.conv1.weight" in names,
        [
            Rule(r".+\.relative_bias|.+\.relative_coords_table|.+\.relative_position_index", None),
            Rule(r"levels\.\d+\.global_tokenizer\.to_global_feature\.pos\..+", None),
            Rule(r"patch_embed\.conv_down\.0\.(.+)", r"stem.conv1.\1"),
            Rule(r"patch_embed\.conv_down\.1\.(.+)", r"stem.norm1.\1"),
            Rule(r"patch_embed\.conv_down\.3\.(.+)", r"stem.conv2.\1"),
            Rule(r"patch_embed\.conv_down\.4\.(.+)", r"stem.norm2.\1"),
            Rule(r"levels\.([01])\.blocks\.(\d+)\.((?:conv|norm)[12]\..+)", _OURS + r"mixer.\3"),
            Rule(_BLOCK + r"pos_embed\.cpb_mlp\.(.+)", _OURS + r"encoding.network.\3"),
            Rule(_BLOCK + r"hat_pos_embed\.cpb_mlp\.(.+)", _OURS + r"carrier_encoding.network.\3"),
            Rule(_BLOCK + r"(norm[12]\..+)", _OURS + r"local.\3"),
            Rule(_BLOCK + r"hat_(norm[12]\..+)", _OURS + r"carrier.\3"),
            Rule(_BLOCK + r"attn\." + _BIAS, _OURS + r"local.mixer.bias.network.\3"),
            Rule(_BLOCK + r"joint_attn\." + _BIAS, _OURS + r"local.mixer.attention.bias.network.\3"),
            Rule(_BLOCK + r"hat_attn\." + _BIAS, _OURS + r"carrier.mixer.bias.network.\3"),
            Rule(_BLOCK + r"attn\.((?:qkv|proj)\..+)", _OURS + r"local.mixer.\3"),
            Rule(_BLOCK + r"joint_attn\.((?:qkv|proj)\..+)", _OURS + r"local.mixer.attention.\3"),
            Rule(_BLOCK + r"hat_attn\.((?:qkv|proj)\..+)", _OURS + r"carrier.mixer.\3"),
            Rule(_BLOCK + r"mlp\.(.+)", _OURS + r"local.ffn.\3"),
            Rule(_BLOCK + r"hat_mlp\.(.+)", _OURS + r"carrier.ffn.\3"),
            Rule(_BLOCK + r"gamma([12])", _OURS + r"carrier.scale\3.gamma"),
            Rule(_BLOCK + r"gamma3", _OURS + r"local.scale1.gamma"),
            Rule(_BLOCK + r"gamma4", _OURS + r"local.scale2.gamma"),
            Rule(r"levels\.(\d+)\.downsample\.norm\.(.+)", later_stage("downsample.norm.")),
            Rule(r"levels\.(\d+)\.downsample\.reduction\.0\.(.+)", later_stage("downsample.conv.")),
            Rule(r"levels\.(\d+)\.global_tokenizer\.pos_embed\.(.+)", r"stages.\1.tokenizer.\2"),
            Rule(r"(norm\..+)", r"\1"),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
        ],
        prepare=_prepare,
    )
]
