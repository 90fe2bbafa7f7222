"""Backbones: stem, blocks, stages, and the one class that joins them; ``families`` has what one paper alone has."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.backbones.attention_pooling import AggregationHead, EfficientProbingHead
    from visionattn.backbones.block import Block, ResidualMixer, blocks_by_stage, layer_norm
    from visionattn.backbones.classifier import PoolNormHead, ProjectionHead
    from visionattn.backbones.families.cas_vit import DistilledHead, LocalIntegration
    from visionattn.backbones.families.davit import ConvPosition, NormConvDownsample
    from visionattn.backbones.families.fastervit import BatchNormStem, CarrierStage, MapBatchNorm, NormOverlapDownsample
    from visionattn.backbones.families.gcvit import GCViTDownsample, GCViTStage, GCViTStem
    from visionattn.backbones.families.l2vit import LocalConcentration
    from visionattn.backbones.families.maxvit import MaxViTStage, MaxViTStem, MBConv
    from visionattn.backbones.families.pvt import AbsolutePosition, PatchDownsample
    from visionattn.backbones.families.s2aformer import HybridPerceptionBlock, LocalInteraction, ThreeConvStem
    from visionattn.backbones.families.segman import BiasedLayerScale
    from visionattn.backbones.families.shvit import NormalizedConvPosition, NormalizedFeedForward, SHViTDownsample
    from visionattn.backbones.feed_forward import (
        ContextBroadcasting,
        ConvFeedForward,
        FeedForward,
        GatedConvFeedForward,
        ResidualConvFeedForward,
    )
    from visionattn.backbones.hierarchical import HierarchicalBackbone
    from visionattn.backbones.layers import LayerGroups
    from visionattn.backbones.stage import Stage, stages_apart
    from visionattn.backbones.stem import (
        ConvBatchNormDownsample,
        ConvDownsample,
        ConvStem,
        OverlapStem,
        PatchMerging,
        PatchStem,
        StridedConvStem,
    )
    from visionattn.backbones.timm_backbone import TimmBackbone

__all__ = [
    "AbsolutePosition",
    "AggregationHead",
    "BatchNormStem",
    "BiasedLayerScale",
    "Block",
    "CarrierStage",
    "ContextBroadcasting",
    "ConvBatchNormDownsample",
    "ConvDownsample",
    "ConvFeedForward",
    "ConvPosition",
    "ConvStem",
    "DistilledHead",
    "EfficientProbingHead",
    "FeedForward",
    "GCViTDownsample",
    "GCViTStage",
    "GCViTStem",
    "GatedConvFeedForward",
    "HierarchicalBackbone",
    "HybridPerceptionBlock",
    "LayerGroups",
    "LocalConcentration",
    "LocalIntegration",
    "LocalInteraction",
    "MBConv",
    "MapBatchNorm",
    "MaxViTStage",
    "MaxViTStem",
    "NormConvDownsample",
    "NormOverlapDownsample",
    "NormalizedConvPosition",
    "NormalizedFeedForward",
    "OverlapStem",
    "PatchDownsample",
    "PatchMerging",
    "PatchStem",
    "PoolNormHead",
    "ProjectionHead",
    "ResidualConvFeedForward",
    "ResidualMixer",
    "SHViTDownsample",
    "Stage",
    "StridedConvStem",
    "ThreeConvStem",
    "TimmBackbone",
    "blocks_by_stage",
    "layer_norm",
    "stages_apart",
]

__getattr__ = face(
    __name__,
    {
        "AbsolutePosition": "families.pvt",
        "AggregationHead": "attention_pooling",
        "BatchNormStem": "families.fastervit",
        "BiasedLayerScale": "families.segman",
        "Block": "block",
        "CarrierStage": "families.fastervit",
        "ContextBroadcasting": "feed_forward",
        "ConvBatchNormDownsample": "stem",
        "ConvDownsample": "stem",
        "ConvFeedForward": "feed_forward",
        "ConvPosition": "families.davit",
        "ConvStem": "stem",
        "DistilledHead": "families.cas_vit",
        "EfficientProbingHead": "attention_pooling",
        "FeedForward": "feed_forward",
        "GCViTDownsample": "families.gcvit",
        "GCViTStage": "families.gcvit",
        "GCViTStem": "families.gcvit",
        "GatedConvFeedForward": "feed_forward",
        "HierarchicalBackbone": "hierarchical",
        "LayerGroups": "layers",
        "HybridPerceptionBlock": "families.s2aformer",
        "LocalConcentration": "families.l2vit",
        "LocalIntegration": "families.cas_vit",
        "LocalInteraction": "families.s2aformer",
        "MBConv": "families.maxvit",
        "MapBatchNorm": "families.fastervit",
        "MaxViTStage": "families.maxvit",
        "MaxViTStem": "families.maxvit",
        "NormConvDownsample": "families.davit",
        "NormOverlapDownsample": "families.fastervit",
        "NormalizedConvPosition": "families.shvit",
        "NormalizedFeedForward": "families.shvit",
        "OverlapStem": "stem",
        "PatchDownsample": "families.pvt",
        "PatchMerging": "stem",
        "PatchStem": "stem",
        "PoolNormHead": "classifier",
        "ProjectionHead": "classifier",
        "ResidualConvFeedForward": "feed_forward",
        "ResidualMixer": "block",
        "SHViTDownsample": "families.shvit",
        "Stage": "stage",
        "StridedConvStem": "stem",
        "ThreeConvStem": "families.s2aformer",
        "TimmBackbone": "timm_backbone",
        "blocks_by_stage": "block",
        "layer_norm": "block",
        "stages_apart": "stage",
    },
)
