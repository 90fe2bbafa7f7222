"""What is measured: the attention of each stage of five published backbones at 224 x 224, and larger windows and maps.

Heads have a width of 32. ``natten.256``, the largest case of NATTEN's tables, has 128; it is meant for a GPU, always
has one image, and is measured where its name is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

import torch

from visionattn.kernels import neighborhood_attention, routed_attention, window_attention
from visionattn.kernels.op import Call
from visionattn.kernels.routed import RoutedCall

Pair = tuple[int, int]
DEPTH = 32


@dataclass(frozen=True)
class Case:
    """One attention; ``step`` is the shift of a window partition or the stride of a neighborhood.

    ``images`` is the batch where it is always the same; such a case is left out unless it is named.
    """

    name: str
    windowed: bool
    side: int
    heads: int
    size: Pair
    step: Pair
    dilation: Pair = (1, 1)
    bias: bool = True
    depth: int = DEPTH
    images: int | None = None

    def call(self, batch: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> Call:
        """A checked call; q, k and v are views of one packed tensor, as from a qkv projection."""
        generator = torch.Generator().manual_seed(seed)
        shape = (self.images or batch, self.side, self.side, 3, self.heads, self.depth)
        q, k, v = torch.randn(shape, generator=generator).to(device, dtype).unbind(3)
        table = (self.heads, 2 * self.size[0] - 1, 2 * self.size[1] - 1)
        bias = torch.randn(table, generator=generator).to(device) if self.bias else None
        if self.windowed:
            return window_attention.prepare(
                q, k, v, window=self.size, shift=self.step, dilation=self.dilation, bias=bias
            )
        return neighborhood_attention.prepare(
            q, k, v, kernel_size=self.size, dilation=self.dilation, stride=self.step, bias=bias
        )


@dataclass(frozen=True)
class RoutedCase:
    """``regions`` by ``regions`` regions of a map, each of which attends to as many drawn ones as ``listed`` says."""

    name: str
    side: int
    heads: int
    listed: int
    regions: int

    def call(self, batch: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> RoutedCall:
        """A checked call; q, k and v are views of one packed tensor, and no list names a region twice."""
        generator = torch.Generator().manual_seed(seed)
        shape, count = (batch, self.side, self.side, 3, self.heads, DEPTH), self.regions**2
        q, k, v = torch.randn(shape, generator=generator).to(device, dtype).unbind(3)
        routes = torch.rand(batch, count, count, generator=generator).topk(self.listed).indices.to(device)
        return routed_attention.prepare(q, k, v, routes, region=-(-self.side // self.regions))


def _swin() -> list[Case]:
    """Swin-T (Liu et al., 2021): 7 x 7 windows, plain and shifted; the last stage is a single window."""
    cases = []
    for stage, (side, heads) in enumerate(((56, 3), (28, 6), (14, 12)), 1):
        cases.append(Case(f"swin_tiny.s{stage}", True, side, heads, (7, 7), (0, 0)))
        cases.append(Case(f"swin_tiny.s{stage}.shifted", True, side, heads, (7, 7), (3, 3)))
    return [*cases, Case("swin_tiny.s4", True, 7, 24, (7, 7), (0, 0))]


def _dinat() -> list[Case]:
    """NAT-T and DiNAT-T (Hassani and Shi, 2022): kernel 7, alternately at dilation 1 and at the largest that fits."""
    cases = []
    for stage, (side, heads) in enumerate(((56, 2), (28, 4), (14, 8)), 1):
        cases.append(Case(f"dinat_tiny.s{stage}", False, side, heads, (7, 7), (1, 1)))
        wide = side // 7
        cases.append(Case(f"dinat_tiny.s{stage}.dilated", False, side, heads, (7, 7), (1, 1), (wide, wide)))
    return [*cases, Case("dinat_tiny.s4", False, 7, 16, (7, 7), (1, 1))]


def _cswin() -> list[Case]:
    """CSWin-T (Dong et al., 2021): vertical and horizontal strips, half of the heads each, no bias."""
    cases = []
    for stage, (side, heads, strip) in enumerate(((56, 1, 1), (28, 2, 2), (14, 4, 7)), 1):
        cases.append(Case(f"cswin_tiny.s{stage}.vertical", True, side, heads, (side, strip), (0, 0), bias=False))
        cases.append(Case(f"cswin_tiny.s{stage}.horizontal", True, side, heads, (strip, side), (0, 0), bias=False))
    return [*cases, Case("cswin_tiny.s4", True, 7, 16, (7, 7), (0, 0), bias=False)]


def _maxvit() -> list[Case]:
    """MaxViT-T (Tu et al., 2022): 7 x 7 blocks and a 7 x 7 grid over the whole map."""
    cases = []
    for stage, (side, heads) in enumerate(((56, 2), (28, 4), (14, 8), (7, 16)), 1):
        cases.append(Case(f"maxvit_tiny.s{stage}.block", True, side, heads, (7, 7), (0, 0)))
        if side > 7:
            wide = side // 7
            cases.append(Case(f"maxvit_tiny.s{stage}.grid", True, side, heads, (7, 7), (0, 0), (wide, wide)))
    return cases


def _windows() -> list[Case]:
    """Windows of 144 to 2,304 points, as in Swin at 384 pixels and in FasterViT at larger ones."""
    sides = ((12, 48, 4), (14, 56, 4), (24, 48, 8), (48, 48, 8))
    return [Case(f"windows.{size}", True, side, heads, (size, size), (0, 0)) for size, side, heads in sides]


def _biformer() -> list[RoutedCase]:
    """BiFormer-T (Zhu et al., 2023): 7 x 7 regions at 224 pixels, and the 8 x 8 of its segmentation at 512."""
    stages = ((4, 2, 1), (8, 4, 4), (16, 8, 16))
    return [
        RoutedCase(f"biformer_tiny.s{stage}{ending}", size // stride, heads, listed, regions)
        for size, regions, ending in ((224, 7, ""), (512, 8, ".512"))
        for stage, (stride, heads, listed) in enumerate(stages, 1)
    ]


AnyCase = Case | RoutedCase
NATTEN = Case("natten.256", False, 256, 24, (80, 80), (1, 1), depth=128, images=1)
CASES: tuple[AnyCase, ...] = (*_swin(), *_dinat(), *_cswin(), *_maxvit(), *_windows(), *_biformer(), NATTEN)


def choose(patterns: str | list[str] | tuple[str, ...] = "*") -> list[AnyCase]:
    """Choose the cases whose names match patterns such as ``swin_tiny.*``.

    Raises:
        ValueError: a pattern matches no case.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if not any(fnmatch(case.name, pattern) for case in CASES):
            names = ", ".join(case.name for case in CASES)
            raise ValueError(f"no kernel case matches '{pattern}'; there are {names}")
    return [case for case in CASES if any(_is_meant(case, pattern) for pattern in wanted)]


def _is_meant(case: AnyCase, pattern: str) -> bool:
    return fnmatch(case.name, pattern) and (pattern != "*" or not isinstance(case, Case) or case.images is None)
