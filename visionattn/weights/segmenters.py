"""Other projects' names for a backbone together with the head of segmentation on it."""

from __future__ import annotations

import re
from collections.abc import Callable

from visionattn.weights.formats import Format, Rule, with_counters
from visionattn.weights.read import StateDict

_OF_PVT, _OF_CAS_VIT = "backbone.block1.0.norm1.weight", "backbone.norm6.running_mean"
_STAGE_NORM = "backbone.stage_norm"
_DECODER = "head.network.transformer_module.decoder."
_LAYER = _DECODER + r"layers.\1."
_PIXELS = "head.network.pixel_decoder."
_ENCODER = r"sem_seg_head\.pixel_decoder\.transformer\.encoder\.layers\.(\d+)\."
_PREDICTOR = r"sem_seg_head\.predictor\."
_SELF, _CROSS, _FEED_FORWARD = (
    _PREDICTOR + rf"transformer_{name}_layers\.(\d+)\." for name in ("self_attention", "cross_attention", "ffn")
)


def around_backbone(norms: str, first: int = 0) -> list[Rule]:
    """The backbone's own names, and those of the norms on its maps.

    Args:
        norms: what the norms are called in ours, before their number.
        first: the first map that the head takes; norms of the maps before it are left out.
    """

    def norm(match: re.Match[str]) -> str:
        number = int(match[1]) - first
        return f"{norms}.{number}.{match[2]}" if number >= 0 else f"unused.{match[0]}"

    return [
        Rule(re.escape(_STAGE_NORM) + r"(.+)", r"backbone.norm\1"),
        Rule(r"backbone\.norm([012])\.(.+)", norm),
        Rule(r"backbone\.norm3\.(.+)", r"backbone.norm.\1"),
        Rule(r"backbone\.outnorm([0123])\.(.+)", norm),
        Rule(r"backbone\.extra_norms\.([0123])\.(?:norm\.)?(.+)", norm),
        Rule(
            r"backbone\.hidden_states_norms\.stage([123])\.(.+)",
            lambda m: f"{norms}.{int(m[1]) - 1}.{m[2]}",
        ),
        Rule(r"(backbone\..+)", r"\1"),
    ]


_BACKBONE = around_backbone("head.norms.norms")
_MASK2FORMER = [
    *_BACKBONE,
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

_TRANSFORMERS = [
    *_BACKBONE,
    Rule(r"(?:model\.)?pixel_level_module\.decoder\.(.+)", _PIXELS + r"\1"),
    Rule(r"(?:model\.)?(transformer_module\..+)", r"head.network.\1"),
    Rule(r"(class_predictor\..+)", r"head.network.\1"),
    Rule(r"criterion\.(empty_weight)", r"head.criterion.\1"),
]


def _layer(template: str) -> Callable[[re.Match[str]], str]:
    """A convolution and its norm, numbered in ours; the last two groups are which of them it is, and the rest."""

    def name(match: re.Match[str]) -> str:
        *_, part, rest = match.groups()
        return f"{match.expand(template)}.{int(part != 'conv')}.{rest}"

    return name


_PAIR = r"\.(conv|bn|batch_norm)\.(.+)"
_UPERNET = [
    *_BACKBONE,
    Rule(r"decode_head\.psp_modules\.(\d)\.1" + _PAIR, _layer(r"head.decoder.pooling.pools.\1.1")),
    Rule(r"decode_head\.bottleneck" + _PAIR, _layer("head.decoder.pooling.fuse")),
    Rule(r"decode_head\.lateral_convs\.(\d)" + _PAIR, _layer(r"head.decoder.lateral.\1")),
    Rule(r"decode_head\.fpn_convs\.(\d)" + _PAIR, _layer(r"head.decoder.smooth.\1")),
    Rule(r"decode_head\.fpn_bottleneck" + _PAIR, _layer("head.decoder.fuse")),
    Rule(r"decode_head\.(?:conv_seg|classifier)\.(.+)", r"head.decoder.classify.1.\1"),
    Rule(r"auxiliary_head\.convs\.0" + _PAIR, _layer("head.auxiliary.conv")),
    Rule(r"auxiliary_head\.(?:conv_seg|classifier)\.(.+)", r"head.auxiliary.classify.1.\1"),
]

_SEMANTIC_FPN = [
    *_BACKBONE,
    Rule(r"neck\.lateral_convs\.(\d)\.conv\.(.+)", r"head.decoder.lateral.\1.\2"),
    Rule(r"neck\.fpn_convs\.(\d)\.conv\.(.+)", r"head.decoder.smooth.\1.\2"),
    Rule(
        r"decode_head\.scale_heads\.(\d)\.(\d)\.(conv|bn)\.(.+)",  # every other one is a doubling
        lambda m: f"head.decoder.branches.{m[1]}.convs.{int(m[2]) // 2}.{int(m[3] == 'bn')}.{m[4]}",
    ),
    Rule(r"decode_head\.conv_seg\.(.+)", r"head.decoder.classify.1.\1"),
]

_SEGMAN = {
    r"reduce_channels\.(\d)": r"reduce.\1",
    "linear_fuse": "fuse",
    "conv_downsample_2": "down2",
    "conv_downsample_4": "down4",
    "short_path": "local",
    r"image_pool\.1": "pooled",
    "proj_out": "back",
    "cat": "join",
}
"""SegMAN's decoder: its convolutions with a norm, theirs -> ours."""
_SEGMAN_RULES = [
    *_BACKBONE,
    *(Rule(rf"decode_head\.{old}{_PAIR}", _layer(f"head.decoder.{new}")) for old, new in _SEGMAN.items()),
    Rule(r"decode_head\.linear_c([234])\.proj\.(.+)", lambda m: f"head.decoder.project.{int(m[1]) - 2}.{m[2]}"),
    Rule(r"decode_head\.vssm\.(norm[12]\..+)", r"head.decoder.block.\1"),
    Rule(r"decode_head\.vssm\.cpe([12])\.(.+)", r"head.decoder.block.position\1.conv.\2"),
    Rule(r"decode_head\.vssm\.token_mixer\.(.+)", r"head.decoder.block.mixer.\1"),
    Rule(r"decode_head\.vssm\.mlp\.(fc[12]\..+)", r"head.decoder.block.ffn.\1"),
    Rule(r"decode_head\.vssm\.mlp\.dwconv\.(.+)", r"head.decoder.block.ffn.conv.\1"),
    Rule(r"decode_head\.conv_seg\.(.+)", r"head.decoder.classify.1.\1"),
]


def _pointwise_layers(state: StateDict) -> StateDict:
    """SegMAN's decoder projects maps by linear layers, where ours are convolutions, and the reverse in its block."""
    changed = with_counters(state)
    for name, tensor in state.items():
        if re.fullmatch(r"decode_head\.linear_c\d\.proj\.weight", name):
            changed[name] = tensor[:, :, None, None]
        elif re.fullmatch(r"decode_head\.vssm\.mlp\.fc\d\.weight", name):
            changed[name] = tensor.flatten(1)
    return changed


def norms_of_maps(state: StateDict) -> StateDict:
    """Names of norms that say to which map they belong.

    CSWin's code counts the norms of the features from one, others from zero. In PVT's layout (TransNeXt) they are those
    that end the stages of the backbone itself. CAS-ViT's are batch norms, numbered otherwise, which no head here has.
    """
    if _OF_PVT in state or _OF_CAS_VIT in state:
        return {name.replace("backbone.norm", _STAGE_NORM, 1): tensor for name, tensor in state.items()}
    if "backbone.norm4.weight" not in state or "backbone.norm0.weight" in state:
        return state
    return {
        re.sub(r"^backbone\.norm(\d)", lambda m: f"backbone.norm{int(m[1]) - 1}", name): x for name, x in state.items()
    }


def _plain_encoder(state: StateDict) -> StateDict:
    """Names of transformers' Mask2Former backbone, as those of its other models."""
    return {re.sub(r"^(?:model\.)?pixel_level_module\.encoder\.", "backbone.", name): x for name, x in state.items()}


def _split_projections(state: StateDict) -> StateDict:
    """Split torch's joint projection of query, key and value into the three of transformers' self-attention."""
    split: StateDict = {}
    for name, tensor in norms_of_maps(state).items():
        one = re.fullmatch(r"(.+_self_attention_layers\.\d+\.self_attn\.)in_proj_(weight|bias)", name)
        if one is None:
            split[name] = tensor
        else:
            split |= {f"{one[1]}{x}_proj.{one[2]}": part for x, part in zip("qkv", tensor.chunk(3), strict=True)}
    return split


FORMATS = [
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
        _plain_encoder,
    ),
    Format(
        "UPerNet (OpenMMLab or transformers)",
        lambda names: "decode_head.psp_modules.0.1.conv.weight" in names,
        _UPERNET,
        norms_of_maps,
    ),
    Format(
        "Semantic FPN (OpenMMLab)",
        lambda names: "decode_head.scale_heads.0.0.conv.weight" in names,
        _SEMANTIC_FPN,
        norms_of_maps,
    ),
    Format(
        "SegMAN (official)",
        lambda names: "decode_head.vssm.token_mixer.A_logs" in names,
        _SEGMAN_RULES,
        _pointwise_layers,
    ),
]
