"""Putting weights into a model, with every name accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from visionattn.errors import CheckpointError
from visionattn.weights.formats import Converted, convert
from visionattn.weights.read import StateDict, read_state_dict
from visionattn.weights.resize import resize_table


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Any]) -> None:
    """Loads a checkpoint into a backbone; every name and every shape has to fit.

    Names and layouts of timm and of the official repositories are recognised by what is in the checkpoint and
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
    Raises:
        CheckpointError: the file cannot be read, or names or shapes do not fit; the message lists every one of them.
    """
    wanted = model.state_dict()
    converted = convert(from_run(read_state_dict(source)), wanted)
    _leave_out_removed_parts(model, converted, wanted)
    _resize_position_tables(model, converted.state)
    problems = _problems(converted, wanted)
    if problems:
        raise CheckpointError(
            f"{len(problems)} entries of the checkpoint, read as {converted.title}, do not fit the model:\n  "
            + "\n  ".join(problems)
        )
    model.load_state_dict(converted.state)


def classifier_width(model: nn.Module, state: Mapping[str, Any]) -> int:
    """Number of classes that the weights in a state dict tell apart, whatever their naming.

    Args:
        model: a backbone with a classifier, of any width.
        state: as for :func:`load_weights`.
    Raises:
        CheckpointError: there is no classifier in it.
    """
    linear = model.get_classifier()  # type: ignore[operator]
    name = next(name for name, module in model.named_modules() if module is linear) + ".weight"
    converted = convert(from_run(read_state_dict(state)), model.state_dict())
    if name not in converted.state:
        raise CheckpointError(f"these weights, read as {converted.title}, hold no classifier ({name})")
    return int(converted.state[name].shape[0])


def _problems(converted: Converted, wanted: Mapping[str, Tensor]) -> list[str]:
    state, origin = converted.state, converted.origin
    problems = [f"missing: {name}" for name in wanted if name not in state]
    problems += [f"not in the model: {name}" for name in converted.unknown]
    problems += [
        f"not in the model: {origin[name]}" + (f" (which would be {name})" if origin[name] != name else "")
        for name in state
        if name not in wanted
    ]
    problems += [
        f"{origin[name]} has shape {tuple(state[name].shape)}, the model needs {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    return problems


def _leave_out_removed_parts(model: nn.Module, converted: Converted, wanted: Mapping[str, Tensor]) -> None:
    removed = tuple(f"{part}." for part in getattr(model, "removed_parts", tuple)())
    for name in [name for name in converted.state if name not in wanted and name.startswith(removed)]:
        del converted.state[name]


def _resize_position_tables(model: nn.Module, state: StateDict) -> None:
    """Every module names its tables in ``position_tables``; those of another window get the size of the model's."""
    for prefix, module in model.named_modules():
        for table in getattr(module, "position_tables", ()):
            name, own = f"{prefix}.{table}".lstrip("."), getattr(module, table)
            if own is not None and name in state and state[name].ndim == own.ndim:
                state[name] = resize_table(state[name], tuple(own.shape[-2:]))


def from_run(state: StateDict) -> StateDict:
    """The names of a plain backbone for the weights of one of our classification runs; other names stay, but of those
    of another project's model around a backbone only the backbone and a classifier's.
    """
    if not any(name.startswith("backbone.") for name in state):
        return state
    if not any(name.startswith("backbone.stem.") for name in state):
        around = {name for name in state if not name.startswith(("backbone.", "head.fc."))}
        return {name.removeprefix("backbone."): tensor for name, tensor in state.items() if name not in around}
    renamed = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        renamed[{"backbone": rest, "head": rest.replace("classifier.", "head.", 1)}.get(part, name)] = tensor
    return renamed
