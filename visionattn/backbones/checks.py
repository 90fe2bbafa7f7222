"""Whether mixers keep their contract: a map in, a map of the same shape out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from visionattn.backbones.block import Block
from visionattn.errors import ConfigError


@contextmanager
def mixers_checked(backbone: nn.Module) -> Iterator[None]:
    """Let every mixer of a backbone be checked at each call meanwhile.

    Raises:
        ConfigError: at a call, names the stage, the class of the mixer and both shapes.
    """
    handles = []
    for name, module in backbone.named_modules():
        if isinstance(module, Block):
            stage = name.split(".")[1] if name.startswith("stages.") else None
            where = f"s{int(stage) + 1}" if stage is not None and stage.isdigit() else name
            handles.append(module.mixer.register_forward_hook(_comparing(where)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _comparing(where: str) -> Any:
    def compare(mixer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        expected = tuple(inputs[0].shape)
        got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        if got != expected:
            kind = type(mixer)
            raise ConfigError(
                f"mixer {where} ({kind.__module__}.{kind.__qualname__}) returned {got}, expected {expected}"
            )

    return compare
