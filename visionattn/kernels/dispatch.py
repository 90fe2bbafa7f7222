"""An operator over an ordered list of backends, each of which runs a call or says in a sentence why it refuses."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from torch import Tensor

from visionattn.kernels.choice import chosen
from visionattn.kernels.recording import AnyRecorded, report

A = ParamSpec("A")
P = ParamSpec("P")


@dataclass(frozen=True)
class Candidate(Generic[A]):
    """One implementation of an operator.

    Attributes:
        name: what ``backend=`` asks for.
        fn: the operator.
        refuses: the reason why it cannot run this call, or "" when it can.
        packed: ``fn`` with queries, keys and values in one tensor, if that saves something; it runs where ``fn`` does.
        plain: whether it is made of torch's operators alone, so that torch can transform and export it.
    """

    name: str
    fn: Callable[A, Tensor]
    refuses: Callable[A, str]
    packed: Callable[..., Tensor] | None = None
    plain: bool = False


C = TypeVar("C", bound=Candidate[...])


def never(*call: object) -> str:
    """The refusals of a backend that runs every call: returns ""."""
    return ""


class Prepared(ABC, Generic[C]):
    """A checked call of an operator."""

    qkv: Tensor | None = None
    """The one tensor of which the first three arguments are views, where the caller has it."""

    @property
    @abstractmethod
    def arguments(self) -> tuple[Any, ...]:
        """What every backend receives, in order."""

    @abstractmethod
    def wanted(self, op: str) -> str | C:
        """The backend that was asked for, by name or itself, or "auto"; ``op`` is the operator's name, for messages."""

    def record(self, out: Tensor) -> AnyRecorded | None:
        """What the analysis is told of the call, or None."""
        return None

    def reason(self, candidate: C) -> str:
        """Why a backend refuses this call, or ""."""
        return candidate.refuses(*self.arguments)

    def run(self, candidate: C) -> Tensor:
        """The result, computed by a backend."""
        if self.qkv is not None and candidate.packed is not None:
            return candidate.packed(self.qkv, *self.arguments[3:])
        return candidate.fn(*self.arguments)


R = TypeVar("R", bound=Prepared[Any])


class Operator(Generic[P, R]):
    """An operator over an ordered list of backends.

    Its signature is that of ``prepare``, stated there once: :meth:`__call__`, :meth:`explain` and ``prepare`` take the
    same arguments.

    Args:
        prepare: checks the arguments and returns the call; it gives the operator its name and its docstring.
        backends: in the order in which "auto" asks them; the last one must never refuse.
    """

    def __init__(self, prepare: Callable[P, R], backends: Sequence[Candidate[...]]):
        self.name = self.__name__ = prepare.__name__
        self.__doc__ = prepare.__doc__
        self.__signature__ = inspect.signature(prepare).replace(return_annotation="Tensor")
        self.prepare = prepare
        self.backends = tuple(backends)

    def __call__(self, *args: P.args, **options: P.kwargs) -> Tensor:
        """The result of the backend that the call names, or for "auto" of the first that does not refuse.

        Raises:
            ValueError: the named backend refuses, with its reason, or does not exist.
        """
        return self.dispatch(self.prepare(*args, **options))

    def explain(self, *args: P.args, **options: P.kwargs) -> dict[str, str]:
        """Each backend's reason for refusing this call, in the order in which "auto" asks; "" where it would run."""
        call = self.prepare(*args, **options)
        return {candidate.name: call.reason(candidate) for candidate in self.backends}

    def dispatch(self, call: R) -> Tensor:
        """The same of a prepared call."""
        out = call.run(chosen(self.name, self.backends, call.wanted(self.name), call.reason))
        report(lambda: call.record(out))
        return out


def operator(backends: Sequence[Candidate[...]]) -> Callable[[Callable[P, R]], Operator[P, R]]:
    """A decorator: the :class:`Operator` whose calls the decorated function prepares."""

    def decorate(prepare: Callable[P, R]) -> Operator[P, R]:
        return Operator(prepare, backends)

    return decorate
