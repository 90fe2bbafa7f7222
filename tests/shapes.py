"""The shapes in the signatures of kernels, mixers and heads, enforced while a test runs.

The package writes ``Float[Tensor, "B H W C"]`` and imports jaxtyping for type checkers alone. Importing the fixture
:func:`checked_shapes` into a test file or a ``conftest.py`` replaces the annotated functions of all loaded modules by
functions that check them. Code under ``torch.compile``, export or tracing stays unchecked.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import beartype
import jaxtyping
import pytest
import torch

from visionattn.kernels.dispatch import Operator

ROOMS = ("visionattn.kernels.window", "visionattn.kernels.neighborhood", "visionattn.kernels.tokens")
ROOMS += ("visionattn.kernels.op", "visionattn.kernels.routed", "visionattn.kernels.scan")
ROOMS += ("visionattn.attention", "visionattn.heads")
NAMES = {name: getattr(jaxtyping, name) for name in ("Float", "Int", "UInt8")}


def shapes_of(function: Callable[..., Any]) -> dict[str, str]:
    """The annotations of ``function`` that name a shape, as they are written."""
    written = {key: str(value) for key, value in inspect.get_annotations(function).items()}
    return {key: value for key, value in written.items() if any(f"{name}[" in value for name in NAMES)}


@functools.cache
def checked(function: FunctionType) -> Callable[..., Any]:
    """``function`` with its shapes checked; its other annotations are dropped."""
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__qualname__, copy.__module__ = (
        function.__kwdefaults__,
        function.__qualname__,
        function.__module__,
    )
    names = {**function.__globals__, **NAMES}
    copy.__annotations__ = {key: eval(value, names) for key, value in shapes_of(function).items()}
    strict = jaxtyping.jaxtyped(copy, typechecker=beartype.beartype)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return (function if traced else strict)(*args, **kwargs)

    return wrapper


def annotated(module: ModuleType) -> Iterator[tuple[Any, str, FunctionType]]:
    """Owner, attribute and function, for each annotated function that ``module`` holds and each method of its own."""
    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and shapes_of(value):
            yield module, name, value
        elif isinstance(value, Operator) and value.prepare.__module__ == module.__name__:
            yield value, "prepare", value.prepare
        elif isinstance(value, type) and value.__module__ == module.__name__:
            methods = [(key, method) for key, method in vars(value).items() if isinstance(method, FunctionType)]
            yield from ((value, key, method) for key, method in methods if shapes_of(method))


@pytest.fixture(autouse=True)
def checked_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong shapes raise ``jaxtyping.TypeCheckError``, which names the annotations and what was given."""
    loaded = [module for name, module in sys.modules.items() if name.startswith(ROOMS)]
    for owner, name, function in [found for module in loaded for found in annotated(module)]:
        # a module that was first imported inside an earlier test holds what that test had in place
        monkeypatch.setattr(owner, name, checked(inspect.unwrap(function)))
