"""Token mixers: one lesson a file. They run with torch alone."""

from visionattn.attention.combine import Alternate, Parallel
from visionattn.attention.convolution import DepthwiseConvolution, Pooling
from visionattn.attention.full import FullAttention
from visionattn.attention.mixer import Mixer, MixerFactory, StageContext
from visionattn.attention.neighborhood import NeighborhoodAttention
from visionattn.attention.strip import CrossShapedAttention, LocallyEnhancedAttention
from visionattn.attention.window import WindowAttention

__all__ = [
    "Alternate",
    "CrossShapedAttention",
    "DepthwiseConvolution",
    "FullAttention",
    "LocallyEnhancedAttention",
    "Mixer",
    "MixerFactory",
    "NeighborhoodAttention",
    "Parallel",
    "Pooling",
    "StageContext",
    "WindowAttention",
]
