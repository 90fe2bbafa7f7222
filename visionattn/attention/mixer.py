"""What a token mixer is, what its stage tells it, and what it may declare to its stage.

Shapes: B batch, H W map, C channels, N heads, F pairs of channels that turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class StageContext:
    """What the blocks of one stage share; built once per forward and never changed, so recomputation is safe.

    Attributes:
        tokens: global tokens computed once for the stage (GC ViT's query map); None: the stage computes none.
        rotary: tables of angles on the stage's map, by :attr:`visionattn.attention.Rotary.key`: those that its mixers
            declare.
        gates: factors on what each head gives, of the mixer that is called (:class:`visionattn.attention.GatedHeads`);
            None: it has none.
    """

    tokens: Float[Tensor, "B h w C"] | None = None
    rotary: Mapping[str, Float[Tensor, "2 H W F"]] = field(default_factory=dict)
    gates: Float[Tensor, "B H W N"] | None = None


class Mixer(Protocol):
    """A module that mixes the tokens of one map: ``(B, H, W, C) -> (B, H, W, C)``, for any H and W.

    A mixer may declare capabilities as attributes. Stages read them with :func:`declared`; no stage asks for a class.

    ======================  ==================  ========================================================================
    Attribute               Read by             Meaning
    ======================  ==================  ========================================================================
    ``own_norms: bool``     ``CarrierStage``    The mixer normalizes its own input and output. The stage adds a
                                                residual around it and nothing else: no norm, no feed-forward network.
    ``encoded_window: int`` ``CarrierStage``    The stage adds to each token its position in a window of that many
                                                tokens a side, and enlarges the map to whole windows.
    ``carriers: int``       ``CarrierStage``    Each window has that many carrier tokens a side. The mixer is a
                                                :class:`CarrierMixer`.
    ``halvings: int``       ``GCViTStage``      The mixer reads a global query, ``StageContext.tokens``: the map after
                                                that many halvings.
    ``rotary: Rotary``      every stage         The mixer turns queries and keys by these angles, whose table stands in
                                                ``StageContext.rotary``.
    ``gates_heads: bool``   ``GatedHeads``      The mixer multiplies what its ``num_heads`` heads give by
                                                ``StageContext.gates`` before it joins them.
    ``padding_before: bool`` ``analysis``       Half of the tokens that enlarge a map, rounded down, stand before it
                                                and not all of them after it.
    ``padding_front``       ``analysis``        Rows and columns of tokens that stand before the map whenever it is
                                                enlarged; the others stand after it.
    ``map_calls: int``      ``analysis``        Only that many first calls of attention are on the stage's own map; the
                                                others, on coarser maps, are not shown.
    ``elementwise_macs``    ``count_macs``      A method: multiply-adds for an input of a shape ``(B, H, W, C)`` beyond
                                                matrix products, convolutions and attention, which torch counts.
    ======================  ==================  ========================================================================
    """

    def __call__(
        self, x: Float[Tensor, "B H W C"], context: StageContext | None = None
    ) -> Float[Tensor, "B H W C"]: ...


@runtime_checkable
class CarrierMixer(Protocol):
    """What a mixer with carriers offers beside ``carriers`` and ``encoded_window``."""

    def with_carriers(self) -> nn.Module:
        """Attention of each window's tokens, its carriers in front: ``(B, rows, columns, T + P, C) ->`` the same."""

    def among_carriers(self) -> nn.Module:
        """A new mixer for the map of all carriers, ``(B, h, w, C) -> (B, h, w, C)``."""


def declared(module: nn.Module, capability: str) -> int | None:
    """The value that a mixer declares for a capability (see :class:`Mixer`); None where it declares none."""
    value: int | None = getattr(module, capability, None)
    return value


def takes_heads(factory: Callable[..., nn.Module]) -> bool:
    """Whether a factory, or the class of which it is a ``functools.partial``, declares that it takes ``num_heads``."""
    return bool(getattr(getattr(factory, "func", factory), "takes_heads", False))


MixerFactory = Callable[..., nn.Module]
"""Called by a stage as ``factory(dim=..., num_heads=..., index=...)``; ``index`` is the block's position."""
