"""Registration of the backbones with timm at the moment timm is imported.

``import visionattn`` itself stays light.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _TimmFinder(MetaPathFinder):
    """A finder of ``timm`` that gives timm's own spec, with a loader that then registers the backbones.

    It stays in ``sys.meta_path`` until timm is imported: many libraries only ask for the spec, to see whether timm is
    installed.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, self)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Loader, finder: _TimmFinder):
        self.loader, self.finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _register()


def _register() -> None:
    """Imports the zoo, which registers its backbones as its last step, also where the zoo itself imports timm."""
    import visionattn.backbones.zoo  # noqa: F401


def register_when_timm_is_imported() -> None:
    """Now, if timm is there already; otherwise as soon as somebody imports it."""
    if "timm" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _TimmFinder())
