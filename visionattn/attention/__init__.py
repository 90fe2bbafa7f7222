"""Token mixers, one per file. They need torch alone."""

from visionattn.attention.additive import AdditiveMixing
from visionattn.attention.agent import AgentAttention
from visionattn.attention.aggregated import AggregatedAttention, LengthScaledAttention
from visionattn.attention.bi_level_routing import BiLevelRoutingAttention
from visionattn.attention.blockwise import BlockwiseLinearAttention
from visionattn.attention.channel import ChannelAttention
from visionattn.attention.clipped import ClippedSoftmax
from visionattn.attention.combine import Alternate, Leading, Parallel
from visionattn.attention.content import ContentAttention
from visionattn.attention.content_free import ContentFreeAttention
from visionattn.attention.continuous import ContinuousWindowAttention
from visionattn.attention.convolution import ConvolutionPair, DepthwiseConvolution, Pooling
from visionattn.attention.cosine_window import CosineWindowAttention
from visionattn.attention.cross_shaped import CrossShapedAttention, LocallyEnhancedAttention
from visionattn.attention.efficient import EfficientAttention
from visionattn.attention.factored_bias import FactoredTable, factorize_bias
from visionattn.attention.factorized import FactorizedAttention
from visionattn.attention.full import FullAttention
from visionattn.attention.gated_convolution import GatedConvolution
from visionattn.attention.gated_positional import GatedPositionalAttention
from visionattn.attention.gates import GatedHeads, HeadRouter, SigmoidGate
from visionattn.attention.global_query import GlobalQueryAttention
from visionattn.attention.grid import GridAttention
from visionattn.attention.linear import FlowAttention, LinearAttention
from visionattn.attention.local_encoding import LocalEncoding
from visionattn.attention.magnitude import MagnitudeAttention
from visionattn.attention.manhattan import ManhattanAttention
from visionattn.attention.mixer import Mixer, MixerFactory, StageContext
from visionattn.attention.multi_scale import MultiScaleAttention
from visionattn.attention.multipole import MultipoleAttention
from visionattn.attention.neighborhood import NeighborhoodAttention
from visionattn.attention.neighborhood_full import NeighborhoodFull
from visionattn.attention.neighborhood_scan import NeighborhoodScan
from visionattn.attention.nothing import NoMixing
from visionattn.attention.overlapping import OverlappingWindowAttention
from visionattn.attention.polyline import PolylineAttention
from visionattn.attention.rotary import Rotary
from visionattn.attention.selective_scan import SelectiveScan
from visionattn.attention.single_head import SingleHeadAttention
from visionattn.attention.strip_self import StripSelfAttention
from visionattn.attention.window import WindowAttention

__all__ = [
    "AdditiveMixing",
    "AgentAttention",
    "AggregatedAttention",
    "Alternate",
    "BiLevelRoutingAttention",
    "BlockwiseLinearAttention",
    "ChannelAttention",
    "ClippedSoftmax",
    "ContentAttention",
    "ContentFreeAttention",
    "ContinuousWindowAttention",
    "ConvolutionPair",
    "CosineWindowAttention",
    "CrossShapedAttention",
    "DepthwiseConvolution",
    "EfficientAttention",
    "FactoredTable",
    "FactorizedAttention",
    "FlowAttention",
    "FullAttention",
    "GatedConvolution",
    "GatedHeads",
    "GatedPositionalAttention",
    "GlobalQueryAttention",
    "GridAttention",
    "HeadRouter",
    "Leading",
    "LengthScaledAttention",
    "LinearAttention",
    "LocalEncoding",
    "LocallyEnhancedAttention",
    "MagnitudeAttention",
    "ManhattanAttention",
    "Mixer",
    "MixerFactory",
    "MultiScaleAttention",
    "MultipoleAttention",
    "NeighborhoodAttention",
    "NeighborhoodFull",
    "NeighborhoodScan",
    "NoMixing",
    "OverlappingWindowAttention",
    "Parallel",
    "PolylineAttention",
    "Pooling",
    "Rotary",
    "SelectiveScan",
    "SigmoidGate",
    "SingleHeadAttention",
    "StageContext",
    "StripSelfAttention",
    "WindowAttention",
    "factorize_bias",
]
