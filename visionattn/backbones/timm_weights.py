"""Weights under timm's own names, put into a network of timm.

Shapes: K classes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from timm.models import adapt_input_conv
from torch import Tensor, nn

from visionattn.errors import CheckpointError
from visionattn.weights import Report, fill
from visionattn.weights.mismatch import Mismatch


class TimmWeights(nn.Module):
    """A network of timm that takes weights, and what may stand beside it.

    Attributes:
        net: the network.
        card: facts about it, perhaps ``mean``, ``std`` and ``input_size`` of its images.
    """

    net: Any
    card: dict[str, Any]
    _complete: frozenset[str]
    """Names of all its parameters, before a task left some out."""

    @property
    def _kind(self) -> str:
        return type(self.net).__name__

    def classes_in(self, state: Mapping[str, Tensor]) -> int | None:
        """How many classes the classifier in a state dict of timm's tells apart; None: there is none."""
        names = [f"{prefix}{layer}.weight" for layer in classifiers_of(self.net) for prefix in ("", "net.")]
        return next((int(state[name].shape[0]) for name in names if name in state), None)

    def classifier_in(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        """Parameter of the linear layer that makes the logits -> its name in a state dict of timm's; none: no such.

        Raises:
            CheckpointError: the logits are not made by one linear layer alone.
        """
        layers = classifiers_of(self.net)
        names = {f"{prefix}{layer}.": layer for layer in layers for prefix in ("", "net.")}
        found = {name: name.rpartition(".")[2] for name in state if name.startswith(tuple(names))}
        if found and (len(layers) > 1 or not {*found.values()} <= {"weight", "bias"}):
            raise CheckpointError(
                f"timm's {self._kind} makes its logits with {', '.join(found)}, which one linear layer cannot take; "
                "weights_part=backbone loads the backbone alone"
            )
        return {part: name for name, part in found.items()}

    def take_weights(self, state: Mapping[str, Tensor]) -> Report:
        """Load weights under timm's names, or under those of a run of ours.

        Weights of another image size or of other image channels are resized as timm does it.

        Raises:
            CheckpointError: names or shapes do not fit; its ``details`` list them.
        """
        ours, given = self.state_dict(), {name.removeprefix("net."): tensor for name, tensor in state.items()}
        beside = {name: given.pop(name) for name in list(given) if name.startswith("pyramid.")}
        fitted = resized_state(self.net, given)
        renamed = {f"net.{name}": tensor for name, tensor in fitted.items()} | beside
        classifiers = tuple(f"net.{layer}." for layer in classifiers_of(self.net))
        left = [n for n in renamed if n not in ours and (n in self._complete or n.startswith(classifiers))]
        taken = {name: tensor for name, tensor in renamed.items() if name not in left}
        fresh = [name for name in ours if name not in taken and name.startswith("pyramid.")]
        found = Mismatch(f"timm's {self._kind}", missing=[n for n in ours if n not in taken and n not in fresh])
        found.unknown = {name: name for name in taken if name not in ours}
        found.add_shapes(taken, ours, {})
        found.check("of the checkpoint")
        fill(self, taken, strict=False)
        old = {f"net.{name}": tuple(tensor.shape) for name, tensor in given.items()}
        resized = {
            name: (old[name], tuple(tensor.shape))
            for name, tensor in taken.items()
            if name in old and old[name] != tuple(tensor.shape)
        }
        return Report(f"timm's{self._images()}", list(taken), resized, left, fresh)

    def _images(self) -> str:
        """What images the published weights were trained on."""
        if "mean" not in self.card:
            return ""
        size = "x".join(map(str, self.card["input_size"][1:]))
        return f", for images of {size} pixels with data.mean={self.card['mean']} data.std={self.card['std']}"


def classifiers_of(network: Any) -> tuple[str, ...]:
    """Names of the layers that give the logits."""
    named = network.pretrained_cfg.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def resized_state(network: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of another image size or of other image channels, brought to those of a network as timm itself does it.

    Args:
        network: that is to take them.
        state: under timm's names.
    """
    own, state = network.state_dict(), dict(state)
    convolutions = network.pretrained_cfg.get("first_conv") or ()
    for layer in (convolutions,) if isinstance(convolutions, str) else convolutions:
        name = f"{layer}.weight"
        if name in state and name in own and state[name].ndim == 4 and state[name].shape[1] == 3 != own[name].shape[1]:
            state[name] = adapt_input_conv(own[name].shape[1], state[name])
    if all(state[name].shape == own[name].shape for name in state if name in own):
        return state
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        return state if adapt is None else dict(adapt(dict(state), network))
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return state  # what does not fit is listed by the caller
