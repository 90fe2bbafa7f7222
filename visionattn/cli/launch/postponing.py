"""A dry run starts without what libraries import and a dry run never uses.

torchvision, Lightning and timm import torch's compiler for a class to compare with and for marks on functions,
torchmetrics imports Matplotlib for its plots, and transformers and ``scipy.signal`` for metrics of text and sound:
together nearly half of the processor time of a dry run. :func:`postpone` puts a :class:`_Postponed` module in the
place of each. It answers for the few names that are asked for during the imports; whatever else is asked for loads the
module, so that nothing is missing.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType
from typing import Any

_MARKS = ("disable", "assume_constant_result", "allow_in_graph")
_TYPES = ("_AX_TYPE", "_CMAP_TYPE", "_PLOT_OUT_TYPE")
_PLOTS = ("plot_confusion_matrix", "plot_curve", "plot_single_or_multi_val")
_NAMES = {
    "torch._dynamo": ("OptimizedModule", *_MARKS),
    "torch._dynamo.utils": ("is_compile_supported",),
    "torch._inductor": (),
    "torch._inductor.config": ("deterministic",),
    "transformers": ("AutoModel", "AutoTokenizer", "CLIPModel", "CLIPProcessor"),
    "scipy.signal": ("hamming",),
    "torchmetrics.utilities.plot": (*_TYPES, *_PLOTS),
}
"""Module -> what libraries ask of it while they are imported. Torch's marks concern compiled graphs alone."""


class _Later(type):
    """A class or function of a module that is loaded when it is called or asked for something.

    Until then nothing can be its instance.
    """

    def _real(cls) -> Any:
        _stop(cls.__module__)
        return getattr(import_module(cls.__module__), cls.__name__)

    def __instancecheck__(cls, instance: object) -> bool:
        return not isinstance(sys.modules.get(cls.__module__), _Postponed) and isinstance(instance, cls._real())

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._real()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._real(), name)


class _Postponed(ModuleType):
    """A module that has not been loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> Any:
        own = self.__name__
        if name in _NAMES[own]:
            return _unmarked if name in _MARKS else _Later(name, (), {"__module__": own})
        if name.startswith("__"):
            raise AttributeError(name)
        if isinstance(module := sys.modules.get(f"{own}.{name}"), _Postponed):
            return module
        _stop(own)
        return getattr(import_module(own), name)


class _Submodules(MetaPathFinder, Loader):
    """Loads a postponed package when one of its modules is imported, and gives the module that came with it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = fullname.rpartition(".")[0]
        if not isinstance(sys.modules.get(package), _Postponed):
            return None
        _stop(package)
        module = import_module(fullname)
        self.spec = module.__spec__
        return spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    return _unmarked if function is None else function


def _stop(name: str) -> None:
    """Take the stand-ins of a library away: its modules import one another."""
    library = name.partition(".")[0]
    for other in _NAMES:
        if other.partition(".")[0] == library and isinstance(sys.modules.get(other), _Postponed):
            del sys.modules[other]


def postpone() -> None:
    """Postpone the modules of :data:`_NAMES` that are there and not loaded, for the whole process.

    Garbage is not collected, and no thread waits for work: nothing large is computed. A process that goes on to train
    would miss the compiler's marks.
    """
    gc.disable()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.meta_path.insert(0, _Submodules())
    for name in _NAMES:
        if name not in sys.modules and find_spec(name.partition(".")[0]) is not None:
            sys.modules[name] = _Postponed(name)
