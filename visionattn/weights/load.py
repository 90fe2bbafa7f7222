"""Putting weights into a model, with every name accounted for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor, nn

from visionattn.errors import CheckpointError
from visionattn.weights.detectors import check_boxes
from visionattn.weights.filling import fill
from visionattn.weights.formats import Converted, convert
from visionattn.weights.mismatch import Mismatch
from visionattn.weights.read import StateDict, read_checkpoint
from visionattn.weights.report import Report, TakesWeights, removed_parts
from visionattn.weights.resizing import fold_channels, resize_position_tables
from visionattn.weights.unwrap import Unwrapped, read_state_dict, unwrapped
from visionattn.weights.whole_models import as_backbone_and_head, check_whole

_CLASSIFIER = "head."


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Any]) -> Report:
    """Loads a checkpoint into a backbone; every name and every shape has to fit.

    Names and layouts of timm and of the official repositories are recognized by what is in the checkpoint and
    converted (``weights/families``). A relative-position table of another window size is resized by bicubic
    interpolation. Indices and masks that some projects save although they are no parameters are left out, and so are
    the weights of parts that were taken off the model: the classifier where it has none, and what a model of features
    alone does not need. A checkpoint of one of our own runs holds a backbone and a head; its weights go into the
    backbone and its classifier. Of another project's detector or segmenter the backbone is taken; its neck and heads,
    and the norms between backbone and neck, are not ours.

    Args:
        model: what :func:`visionattn.create_backbone` gives.
        source: path of a ``.safetensors`` or torch file, or a state dict (bare, or under ``state_dict``, ``model``...;
            averaged weights are preferred; prefixes of DDP and ``torch.compile`` are removed).

    Returns:
        what was taken, resized and left out.

    Raises:
        CheckpointError: the file cannot be read, or names or shapes do not fit; its ``details`` list every one of them.
    """
    found = _found_in(source)
    state, around = from_run(found.state)
    if isinstance(model, TakesWeights):
        own: Report = model.take_weights(state)
        own.left_out += around
        return own.beside(*found.around)
    converted = convert(state, model.state_dict())
    report = _prepared(model, converted).beside(*found.around)
    report.left_out += around
    _mismatch(converted, model.state_dict()).check(_entries(converted))
    fill(model, converted.state)
    return report


def load_model(backbone: nn.Module, head: nn.Module, source: str | Path | Mapping[str, Any]) -> Report:
    """Loads a checkpoint into a backbone and the head on it.

    Where only the number of outputs differs (another number of classes), the head's tensors keep their start.

    Args:
        backbone: without a classifier of its own.
        head: what a task has; a classifier is its part ``classifier``.
        source: as for :func:`load_weights`; a run of ours, or another project's classification model.

    Raises:
        CheckpointError: as for :func:`load_weights`, there is no such head in it, or it computed something else.
    """
    given = _found_in(source)
    check_whole(given.state, head)
    state, around = from_run(given.state, {f"head.{name}": tensor for name, tensor in head.state_dict().items()})
    if isinstance(backbone, TakesWeights):
        return _load_under_own_names(backbone, head, state, around).beside(*given.around)
    wanted = dict(backbone.state_dict())
    wanted |= {name.replace("classifier.", _CLASSIFIER, 1): tensor for name, tensor in head.state_dict().items()}
    converted = convert(state, wanted)
    theirs = Converted(converted.title)
    for name in [name for name in converted.state if name.startswith(_CLASSIFIER)]:
        ours = name.replace(_CLASSIFIER, "classifier.", 1)
        theirs.state[ours], theirs.origin[ours] = converted.state.pop(name), converted.origin[name]
    _head_of_a_run(theirs, around)
    check_boxes(theirs.state, head.state_dict())
    unneeded = _leave_out_removed_parts(head, theirs, head.state_dict())
    report, upper = _prepared(backbone, converted), _same_inputs(head, theirs)
    report.left_out += unneeded
    found = _mismatch(converted, backbone.state_dict()) + _mismatch(theirs, upper)
    found.check(_entries(converted))
    fill(backbone, converted.state)
    return _with_head(report, head, theirs, around).beside(*given.around)


def _found_in(source: str | Path | Mapping[str, Any]) -> Unwrapped:
    return unwrapped(source if isinstance(source, Mapping) else read_checkpoint(source))


def _load_under_own_names(backbone: TakesWeights, head: nn.Module, state: StateDict, around: StateDict) -> Report:
    """:func:`load_model` of a backbone that reads its own names; its classifier is one linear layer of the head."""
    theirs, origin = Converted("the backbone's own"), backbone.classifier_in(state)
    layers = {name: one for name, one in head.named_modules() if name.startswith("classifier.")}
    linear = [name for name, one in layers.items() if isinstance(one, nn.Linear)]
    for name, old in origin.items() if len(linear) == 1 else ():
        theirs.state[f"{linear[0]}.{name}"], theirs.origin[f"{linear[0]}.{name}"] = state[old], old
    _head_of_a_run(theirs, around)
    _mismatch(theirs, _same_inputs(head, theirs)).check(_entries(theirs))
    report = backbone.take_weights({name: state[name] for name in state if name not in theirs.origin.values()})
    return _with_head(report, head, theirs, around)


def _head_of_a_run(theirs: Converted, around: StateDict) -> None:
    """Take the head of a run of ours from what stood around its backbone.

    Raises:
        CheckpointError: there is no head at all.
    """
    for name in [name for name in around if name.startswith("head.")]:
        theirs.state[name.removeprefix("head.")] = around.pop(name)
        theirs.origin[name.removeprefix("head.")] = name
    if not theirs.state:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in around))
        beside = f"; beside the backbone they hold {parts}, which no head here takes" if parts else ""
        raise CheckpointError(
            f"these weights ({theirs.title}) have no head for this task{beside}; "
            "weights_part=backbone loads the backbone alone"
        )


def _with_head(report: Report, head: nn.Module, theirs: Converted, around: StateDict) -> Report:
    """Load the head and report it too."""
    fill(head, theirs.state, strict=False)
    report.taken += [f"head.{name}" for name in theirs.state]
    report.left_out += around
    report.fresh += [f"head.{n} {tuple(t.shape)}" for n, t in head.state_dict().items() if n not in theirs.state]
    return report


class _Classified(Protocol):
    def get_classifier(self) -> nn.Module: ...


def classifier_width(model: nn.Module, state: Mapping[str, Any], absent: int | None = None) -> int:
    """Number of classes that the weights in a state dict tell apart, whatever their naming.

    Args:
        model: a backbone with a classifier, of any width.
        state: as for :func:`load_weights`.
        absent: what is returned where there is no classifier in it; None: that is an error.

    Raises:
        CheckpointError: there is no classifier in it.
    """
    if isinstance(model, TakesWeights):
        width = model.classes_in(from_run(read_state_dict(state))[0])
        width = absent if width is None else width
        if width is None:
            raise CheckpointError("these weights hold no classifier of this network")
        return width
    linear = cast("_Classified", model).get_classifier()
    name = next(name for name, module in model.named_modules() if module is linear) + ".weight"
    converted = convert(from_run(read_state_dict(state))[0], model.state_dict())
    if name not in converted.state and absent is not None:
        return absent
    if name not in converted.state:
        raise CheckpointError(f"these weights, read as {converted.title}, hold no classifier ({name})")
    return int(converted.state[name].shape[0])


def _same_inputs(head: nn.Module, theirs: Converted) -> dict[str, Tensor]:
    """What the head wants, without the tensors of which only the number of outputs, the first axis, differs."""
    own = head.state_dict()
    differing = {
        name
        for name, tensor in own.items()
        if name in theirs.state
        and theirs.state[name].shape != tensor.shape
        and theirs.state[name].ndim == tensor.ndim > 0
        and theirs.state[name].shape[1:] == tensor.shape[1:]
    }
    for name in differing:
        del theirs.state[name]
    return {name: tensor for name, tensor in own.items() if name not in differing}


def _prepared(model: nn.Module, converted: Converted) -> Report:
    """Remove the tensors that the model has no parameter for, and resize its tables, in place."""
    left_out = _leave_out_removed_parts(model, converted, model.state_dict())
    resized = resize_position_tables(model, converted.state) | fold_channels(model, converted.state)
    taken, fresh = list(converted.state), _added_parts(model, converted)
    return Report(converted.title, taken, resized, left_out, fresh)


def _added_parts(model: nn.Module, converted: Converted) -> list[str]:
    """Parts beside published ones, which declare ``starts_fresh``, keep their start where a checkpoint has none."""
    fresh: StateDict = StateDict()
    for prefix, module in model.named_modules():
        if getattr(module, "starts_fresh", False):
            own = {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
            if not set(own) & set(converted.state):
                fresh |= own
    converted.state.update(fresh)
    converted.origin.update({name: name for name in fresh})
    return list(fresh)


def _entries(converted: Converted) -> str:
    return f"of the checkpoint, read as {converted.title},"


def _mismatch(converted: Converted, wanted: Mapping[str, Tensor]) -> Mismatch:
    state, origin = converted.state, converted.origin
    found = Mismatch(missing=[name for name in wanted if name not in state])
    found.unknown = {name: name for name in converted.unknown}
    found.unknown |= {origin[name]: name for name in state if name not in wanted}
    found.add_shapes(state, wanted, origin)
    found.faults += [f"{origin.get(name, name)} {fault}" for name, fault in unusable_values(state, wanted)]
    return found


def unusable_values(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Name and fault of the tensors that no model can compute with: whole numbers for floats, or not finite ones."""
    for name, tensor in state.items():
        if name in wanted and wanted[name].is_floating_point():
            if not tensor.is_floating_point():
                yield name, f"holds {str(tensor.dtype).removeprefix('torch.')}, the model needs floating-point numbers"
            elif not bool(tensor.isfinite().all()):
                yield name, "is not finite (NaN or infinite): its training diverged, or the file is damaged"


def _leave_out_removed_parts(model: nn.Module, converted: Converted, wanted: Mapping[str, Tensor]) -> list[str]:
    removed = tuple(f"{part}." for part in removed_parts(model))
    names = [name for name in converted.state if name not in wanted and name.startswith(removed)] if removed else []
    for name in names:
        del converted.state[name]
    return [converted.origin[name] for name in names]


def from_run(state: StateDict, head: Mapping[str, Tensor] | None = None) -> tuple[StateDict, StateDict]:
    """The names of a plain backbone for the weights of one of our runs, and what stood around it.

    Of a run of ours that is the backbone and, where it has one, the classifier; other heads stand around it. Of another
    project's model around a backbone likewise, named by :func:`as_backbone_and_head`. A bare backbone stays as it is.
    """
    state = as_backbone_and_head(state, head)
    if not any(name.startswith("backbone.") for name in state):
        return state, {}
    ours = any(name.startswith("backbone.stem.") for name in state)
    classifier = "head.classifier." if ours else "head.fc."
    renamed, around = StateDict(), StateDict()
    for name, tensor in state.items():
        if name.startswith("backbone."):
            renamed[name.removeprefix("backbone.")] = tensor
        elif name.startswith(classifier):
            renamed[name.replace(classifier, _CLASSIFIER, 1) if ours else name] = tensor
        else:
            around[name] = tensor
    return renamed, around
