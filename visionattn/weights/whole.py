"""Other projects' names for a backbone together with the head on it.

As in :mod:`visionattn.weights.formats`, a model is recognised by the names in its state dict. What becomes of the
backbone's own names, after ``backbone.``, is for ``weights/families`` to say.
"""

from __future__ import annotations

import re

from visionattn.weights.formats import Format, Rule, converted
from visionattn.weights.read import StateDict

_DECODER = "head.network.transformer_module.decoder."
_LAYER = _DECODER + r"layers.\1."
_PIXELS = "head.network.pixel_decoder."
_ENCODER = r"sem_seg_head\.pixel_decoder\.transformer\.encoder\.layers\.(\d+)\."
_PREDICTOR = r"sem_seg_head\.predictor\."
_SELF, _CROSS, _FEED_FORWARD = (
    _PREDICTOR + rf"transformer_{name}_layers\.(\d+)\." for name in ("self_attention", "cross_attention", "ffn")
)

_MASK2FORMER = [
    Rule(r"backbone\.norm([012])\.(.+)", r"head.norms.norms.\1.\2"),
    Rule(r"backbone\.norm3\.(.+)", r"backbone.norm.\1"),
    Rule(r"(backbone\..+)", r"\1"),
    Rule(r"sem_seg_head\.pixel_decoder\.input_proj\.(.+)", _PIXELS + r"input_projections.\1"),
    Rule(r"sem_seg_head\.pixel_decoder\.transformer\.level_embed", _PIXELS + "level_embed"),
    Rule(_ENCODER + r"(self_attn\..+)", _PIXELS + r"encoder.layers.\1.\2"),
    Rule(_ENCODER + r"linear([12])\.(.+)", _PIXELS + r"encoder.layers.\1.fc\2.\3"),
    Rule(_ENCODER + r"norm1\.(.+)", _PIXELS + r"encoder.layers.\1.self_attn_layer_norm.\2"),
    Rule(_ENCODER + r"norm2\.(.+)", _PIXELS + r"encoder.layers.\1.final_layer_norm.\2"),
    Rule(r"sem_seg_head\.pixel_decoder\.mask_features\.(.+)", _PIXELS + r"mask_projection.\1"),
    Rule(r"sem_seg_head\.pixel_decoder\.((?:adapter|layer)_\d+)\.norm\.(.+)", _PIXELS + r"\1.1.\2"),
    Rule(r"sem_seg_head\.pixel_decoder\.((?:adapter|layer)_\d+)\.(weight)", _PIXELS + r"\1.0.\2"),
    Rule(_SELF + r"norm\.(.+)", _LAYER + r"self_attn_layer_norm.\2"),
    Rule(_SELF + r"(self_attn\..+)", _LAYER + r"\2"),
    Rule(_CROSS + r"norm\.(.+)", _LAYER + r"cross_attn_layer_norm.\2"),
    Rule(_CROSS + r"multihead_attn\.(.+)", _LAYER + r"cross_attn.\2"),
    Rule(_FEED_FORWARD + r"linear([12])\.(.+)", _LAYER + r"fc\2.\3"),
    Rule(_FEED_FORWARD + r"norm\.(.+)", _LAYER + r"final_layer_norm.\2"),
    Rule(_PREDICTOR + r"decoder_norm\.(.+)", _DECODER + r"layernorm.\1"),
    Rule(_PREDICTOR + r"mask_embed\.layers\.(\d+)\.(.+)", _DECODER + r"mask_predictor.mask_embedder.\1.0.\2"),
    Rule(_PREDICTOR + r"query_embed\.(.+)", r"head.network.transformer_module.queries_embedder.\1"),
    Rule(_PREDICTOR + r"query_feat\.(.+)", r"head.network.transformer_module.queries_features.\1"),
    Rule(_PREDICTOR + r"level_embed\.(.+)", r"head.network.transformer_module.level_embed.\1"),
    Rule(_PREDICTOR + r"class_embed\.(.+)", r"head.network.class_predictor.\1"),
    Rule(r"criterion\.(empty_weight)", r"head.criterion.\1"),
    Rule(r"pixel_(?:mean|std)", None),
]

_ENCODED = r"(?:model\.)?pixel_level_module\.encoder\."
_TRANSFORMERS = [
    Rule(_ENCODED + r"hidden_states_norms\.stage1\.(.+)", r"head.norms.norms.0.\1"),
    Rule(_ENCODED + r"hidden_states_norms\.stage2\.(.+)", r"head.norms.norms.1.\1"),
    Rule(_ENCODED + r"hidden_states_norms\.stage3\.(.+)", r"head.norms.norms.2.\1"),
    Rule(_ENCODED + r"(.+)", r"backbone.\1"),
    Rule(r"(?:model\.)?pixel_level_module\.decoder\.(.+)", _PIXELS + r"\1"),
    Rule(r"(?:model\.)?(transformer_module\..+)", r"head.network.\1"),
    Rule(r"(class_predictor\..+)", r"head.network.\1"),
    Rule(r"criterion\.(empty_weight)", r"head.criterion.\1"),
]


def _split_projections(state: StateDict) -> StateDict:
    """torch's attention keeps query, key and value in one; transformers' self-attention has three."""
    found: StateDict = {}
    for name, tensor in state.items():
        one = re.fullmatch(r"(.+_self_attention_layers\.\d+\.self_attn\.)in_proj_(weight|bias)", name)
        if one is None:
            found[name] = tensor
        else:
            found |= {f"{one[1]}{x}_proj.{one[2]}": part for x, part in zip("qkv", tensor.chunk(3), strict=True)}
    return found


_FORMATS = [
    Format(
        "Mask2Former (official)",
        lambda names: "sem_seg_head.predictor.query_feat.weight" in names,
        _MASK2FORMER,
        _split_projections,
    ),
    Format(
        "Mask2Former (transformers)",
        lambda names: (
            any(name.endswith("transformer_module.queries_features.weight") for name in names)
            and not any(name.startswith("head.") for name in names)
        ),
        _TRANSFORMERS,
    ),
]


def as_backbone_and_head(state: StateDict) -> StateDict:
    """The names of a run of ours for the weights of a whole model of another project: ``backbone.`` with that
    project's names, ``head.`` with ours. Other state dicts stay as they are, and so do entries without a place.
    """
    for entry in _FORMATS:
        if entry.recognises(state.keys()):
            found = converted(entry, state, {})
            return found.state | {name: state[name] for name in found.unknown if name in state}
    return state
