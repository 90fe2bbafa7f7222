"""Random state per sample: augmentation depends on (seed, epoch, sample) and on nothing else.

It does not depend on the worker, on the number of workers or processes, or on earlier draws. timm's augmentations draw
from ``random``, from ``numpy.random`` and from torch's CPU generator; all three are set.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache
from types import TracebackType

import numpy as np
import torch
from numpy.random.mtrand import get_bit_generator, set_bit_generator


def stable_seed(*parts: int | str, bits: int = 64) -> int:
    """A seed of ``bits`` bits computed from integers and strings, the same on every machine and Python."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: bits // 8], "little")


@cache
def _has_accelerator() -> bool:
    """Whether there is an accelerator; cached, because torch looks for drivers at each call."""
    return torch.accelerator.is_available()


def seed_all(*parts: int | str) -> None:
    """Seed the global generators of Python, numpy and torch (all devices) with ``parts``."""
    seed = stable_seed(*parts)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
    if _has_accelerator():
        torch.manual_seed(seed & 0x7FFFFFFFFFFFFFFF)


class SampleRandomState:
    """A context in which the three CPU generators start from ``parts``; afterwards they continue as before.

    The second of a pair of normals that numpy may have cached is lost. CUDA generators are not touched. numpy draws
    from another bit generator meanwhile, because copying its state out and back takes thirty times as long.
    """

    _own = np.random.MT19937(0)

    def __init__(self, *parts: int | str) -> None:
        self.seed = stable_seed(*parts)

    def __enter__(self) -> None:
        self._python = random.getstate()
        self._numpy = get_bit_generator()
        self._torch = torch.default_generator.get_state()
        random.seed(self.seed)
        set_bit_generator(self._own)
        np.random.seed(self.seed & 0xFFFFFFFF)
        torch.default_generator.manual_seed(self.seed & 0x7FFFFFFFFFFFFFFF)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        random.setstate(self._python)
        set_bit_generator(self._numpy)
        torch.default_generator.set_state(self._torch)
