"""One fused attention engine for windows, strips, grids, (dilated) neighborhoods, few tokens and regions; a scan.

    window_attention(q, k, v, window=(7, 7), shift=(3, 3), bias=table)
    neighborhood_attention(q, k, v, kernel_size=7, dilation=2, bias=table)
    token_attention(q, k, v, bias=dense)                        # queries and keys on no common map
    routed_attention(q, k, v, routes, region=(8, 8))            # regions of a map attend to listed regions
    selective_scan(x, delta, a, b, c)                           # a recurrence along rows and columns
    neighborhood_attention.explain(q, k, v, kernel_size=7)      # why each backend would refuse

Files: ``geometry`` (which keys a query sees), ``op`` (dispatch), ``backends`` (the ordered lists, and one file or
folder per backend; ``reference`` is the definition).
"""

from visionattn.kernels.neighborhood import neighborhood_attention
from visionattn.kernels.routed import routed_attention
from visionattn.kernels.scan import selective_scan
from visionattn.kernels.tokens import token_attention
from visionattn.kernels.window import window_attention

__all__ = ["neighborhood_attention", "routed_attention", "selective_scan", "token_attention", "window_attention"]
