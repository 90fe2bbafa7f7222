"""Putting weights into a model, with every name accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from visionattn.errors import CheckpointError
from visionattn.weights.read import StateDict, read_state_dict

_SHOWN = 12


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Any]) -> None:
    """Loads a checkpoint into a backbone; every name and every shape has to fit.

    A checkpoint of one of our own runs holds a backbone and a head; its weights go into the backbone and its classifier.

    Args:
        model: what :func:`visionattn.create_backbone` gives.
        source: path of a ``.safetensors`` or torch file, or a state dict (bare, or under ``state_dict``, ``model``, ...;
            prefixes of DDP and ``torch.compile`` are removed).
    Raises:
        CheckpointError: the file cannot be read, or names or shapes do not fit; the message lists them.
    """
    state = from_run(read_state_dict(source))
    wanted = model.state_dict()
    problems = [f"missing: {name}" for name in wanted if name not in state]
    problems += [f"not in the model: {name}" for name in state if name not in wanted]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, the model needs {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        rest = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{len(problems)} entries of the checkpoint do not fit the model:\n  " + "\n  ".join(problems[:_SHOWN]) + rest
        )
    model.load_state_dict(state)


def from_run(state: StateDict) -> StateDict:
    """The names of a plain backbone for the weights of one of our classification runs; other names stay."""
    if not any(name.startswith("backbone.") for name in state):
        return state
    renamed = {}
    for name, tensor in state.items():
        head, dot, rest = name.partition(".")
        renamed[{"backbone": rest, "head": rest.replace("classifier.", "head.", 1)}.get(head, name) if dot else name] = tensor
    return renamed
