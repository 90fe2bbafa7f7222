"""A kernel that does nothing, for trying Triton's compilers. It takes no tensor, so no mode of torch can get at it."""

import triton


@triton.jit
def nothing_kernel(number):
    """Nothing."""
