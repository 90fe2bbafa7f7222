"""Other projects' models as a whole: a backbone and the head on it.

As in :mod:`visionattn.weights.formats`, a model is recognized by the names in its state dict. What becomes of the
backbone's own names, after ``backbone.``, is for ``weights/families`` to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor, nn

from visionattn.errors import CheckpointError, counted
from visionattn.weights import detectors, segmenters
from visionattn.weights.formats import Format, converted
from visionattn.weights.mismatch import SHOWN
from visionattn.weights.read import StateDict
from visionattn.weights.report import removed_parts

_NORMS = "norms"
"""The part of a head whose absence ``head.feature_norms`` mends, which the names of what is missing tell."""
_NORM = re.compile(r"head\.(?:pyramid\.)?norms\.norms\.\d\.weight")


def format_of_whole(names: Collection[str]) -> Format | None:
    """The format of a whole model with these names; None: it is a backbone alone, ours, or unknown."""
    return next((entry for entry in (*segmenters.FORMATS, *detectors.FORMATS) if entry.recognizes(names)), None)


def as_backbone_and_head(state: StateDict, wanted: Mapping[str, Tensor] | None = None) -> StateDict:
    """The weights of a whole model of another project under the names of our runs.

    ``backbone.`` keeps that project's names, ``head.`` gets ours. Other state dicts stay as they are, and so do entries
    that no rule renames.

    Args:
        state: the checkpoint.
        wanted: the tensors of our head, ``head.`` before their names, for those that another project lays out
            otherwise; None: only the backbone is wanted.
    """
    entry = format_of_whole(state.keys())
    if entry is None:
        return state
    result = converted(entry, state, dict(wanted or {}))
    unknown = {name: state[name] for name in result.unknown if name in state}
    return _norms_of_all_maps(result.state, wanted or {}) | unknown


def check_whole(state: StateDict, head: nn.Module) -> None:
    """Compare what a head computes with what the model computed that the weights are of.

    Every part of that model is to be known: without one, the head would compute something else.

    Args:
        state: the checkpoint, under its own names.
        head: of ours; its ``removed_parts``, such as what only training needs, it can do without.

    Raises:
        CheckpointError: they differ, and what to give; or the model has parts that the head, or no head here, has.
    """
    entry = format_of_whole(state.keys())
    if entry is None:
        return
    result = converted(entry, state, {})
    unknown = result.unknown
    if unknown:
        shown = ", ".join(unknown[:SHOWN]) + (", ..." if len(unknown) > SHOWN else "")
        raise CheckpointError(
            f"these weights are of a {entry.title} with {counted(len(unknown), 'tensor')} that no head here has "
            f"({shown}); "
            "weights_part=backbone loads the backbone alone"
        )
    theirs = {name.split(".")[1] for name in result.state if name.startswith("head.")} - {_NORMS}
    if theirs - {name.split(".")[0] for name in head.state_dict()} - set(removed_parts(head)):
        raise CheckpointError(
            f"these weights are of {entry.title}, the head is of another kind ({type(head).__name__}): "
            "give the head that they belong to, or weights_part=backbone"
        )
    if entry.convention is not None:
        check_convention(entry.title, entry.convention, head)


def check_convention(owner: str, convention: str, head: nn.Module) -> None:
    """Compare the convention of a head with that in which its weights were trained.

    Args:
        owner: what the weights are of, for the message.
        convention: in which they were trained.
        head: that takes them; one without a ``convention`` knows only one way.

    Raises:
        CheckpointError: they differ, and what to give.
    """
    own = getattr(head, "convention", None)
    if own not in (None, convention):
        raise CheckpointError(
            f"these weights are of {owner}, which computes anchors, regions and boxes in another way than "
            f"head.convention={own}: give head.convention={convention}"
        )


def _norms_of_all_maps(state: StateDict, wanted: Mapping[str, Tensor]) -> StateDict:
    """Where our head has a norm on the last map too, that is what another project calls the last of its norms."""
    for last in (name for name in wanted if _NORM.fullmatch(name) and name not in state):
        if "backbone.norm.weight" in state:
            place = last.removesuffix("weight")
            moved = {f"{place}{kind}": state[f"backbone.norm.{kind}"] for kind in ("weight", "bias")}
            state = {name: x for name, x in state.items() if not name.startswith("backbone.norm.")} | moved
    return state
