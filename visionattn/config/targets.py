"""What a ``_target_`` may name.

There are two checks. ``check_targets`` reads names and imports nothing: the dotted path must lie in an allowed
namespace, with no private segment. ``locate`` imports an allowed path and checks what it imported. Every module on the
way must be the one that the path names (``torch.nn.modules.module.torch`` is an alias of another module). The object
must be a module's own class or function, not a method. It must be defined where building blocks are defined, wherever
it is re-exported.

The list is an allowlist: a name that is not on it is refused. It leaves out namespaces whose members read, fetch or run
files.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from visionattn.errors import ConfigError

# Where a target may be named. `x.*`: one name in x. `x.**`: anything below x.
PATHS = (
    "visionattn.**",
    *("torch.nn.*", "torch.nn.modules.**", "torch.nn.functional.*", "torch.nn.init.*", "torch.nn.utils.**"),
    "torch.optim.**",
    *(
        f"torch.utils.data.{kind}Sampler"
        for kind in ("Sequential", "Random", "SubsetRandom", "WeightedRandom", "Batch")
    ),
    *("torch.utils.data.DistributedSampler", "torch.utils.data.distributed.DistributedSampler"),
    *("torchvision.ops.**", "torchvision.transforms.**", "torchvision.models.**"),
    *("timm.create_model", "timm.models.**", "timm.layers.**", "timm.optim.**", "timm.scheduler.**", "timm.loss.**"),
    *(
        "timm.data.Mixup",
        "timm.data.mixup.*",
        "timm.data.transforms.*",
        "timm.data.auto_augment.*",
        "timm.data.random_erasing.*",
    ),
    *("timm.data.RandomResizedCropAndInterpolation", "timm.data.create_transform", "timm.data.transforms_factory.*"),
    *("timm.data.rand_augment_transform", "timm.data.auto_augment_transform", "timm.data.augment_and_mix_transform"),
    *(
        "timm.utils.ModelEmaV2",
        "timm.utils.ModelEmaV3",
        "timm.utils.model_ema.ModelEmaV2",
        "timm.utils.model_ema.ModelEmaV3",
    ),
    *("lightning.Trainer", "lightning.pytorch.Trainer", "lightning.pytorch.trainer.Trainer"),
    *(
        f"lightning.pytorch.{room}.**"
        for room in ("callbacks", "loggers", "profilers", "strategies", "plugins", "accelerators")
    ),
    "torchmetrics.*",
    *(
        f"torchmetrics.{room}.**"
        for room in ("classification", "segmentation", "detection", "aggregation", "wrappers", "regression")
    ),
)
# Where an object of such a name may be defined (subtrees): wider than PATHS only where a library builds in one place
# and offers in another.
HOMES = (
    *(
        "visionattn",
        "torch.nn",
        "torch._C._nn",
        "torch.optim",
        "torch.utils.data.sampler",
        "torch.utils.data.distributed",
    ),
    *("torchvision.ops", "torchvision.transforms", "torchvision.models"),
    *("timm.models", "timm.layers", "timm.optim", "timm.scheduler", "timm.loss", "timm.utils.model_ema"),
    *(f"timm.data.{room}" for room in ("mixup", "transforms", "auto_augment", "random_erasing", "transforms_factory")),
    *(
        f"lightning.pytorch.{room}"
        for room in ("callbacks", "loggers", "profilers", "strategies", "plugins", "accelerators")
    ),
    *("lightning.pytorch.trainer.trainer", "lightning.fabric.plugins", "lightning.fabric.accelerators"),
    *(
        f"torchmetrics.{room}"
        for room in ("classification", "segmentation", "detection", "aggregation", "wrappers", "regression")
    ),
    *("torchmetrics.collections", "torchmetrics.clustering", "torchmetrics.nominal"),
)
# Never, although they lie below an allowed name: machinery that builds other targets, runs files, or dispatches to any
# callable.
DENIED = (
    *(f"visionattn.{room}" for room in ("config", "cli", "commands", "runs", "export", "benchmarks", "kernels")),
    *(f"visionattn.{room}" for room in ("analysis", "comparison", "reports", "drawing")),
    *("visionattn.lazy", "visionattn.registration", "visionattn.__main__"),
    *("torch.nn.parallel", "torch.nn.attention", "torch.nn.backends", "torchvision.models.feature_extraction"),
    *(
        "timm.models._hub",
        "timm.models._helpers",
        "timm.models._builder",
        "timm.models._pretrained",
        "timm.models._manipulate",
    ),
)
CORE_ROOTS = frozenset({"visionattn", "torch", "torchvision", "timm", "lightning", "torchmetrics"})
FETCHING_ARGUMENTS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args")
_VERBS = re.compile(
    r"(load|save|download|resume|push|export|open|read|write|exec|eval|compile|register|import|call)(_|$)"
)
_FORBIDDEN_OWN = frozenset(
    {"hydra", "hydra_plugins", "omegaconf", "pytorch_lightning", "antlr4", "yaml", "numpy", "pip", "setuptools"}
)


def _below(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def _named(path: str, patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        if pattern.endswith(".**"):
            if path.startswith(pattern[:-2]):
                return True
        elif pattern.endswith(".*"):
            if path.startswith(pattern[:-1]) and "." not in path[len(pattern) - 1 :]:
                return True
        elif path == pattern:
            return True
    return False


def check_allow(allow: Sequence[str]) -> tuple[str, ...]:
    """The packages of ``allow=[...]``, checked: dotted names of the user's own code.

    Raises:
        ConfigError: a package of Python's, Hydra's or ours.
    """
    for name in allow:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"allow={name!r} is not the name of a Python package")
        root = name.split(".")[0]
        if root in sys.stdlib_module_names or root in _FORBIDDEN_OWN or root in CORE_ROOTS or root.startswith("_"):
            raise ConfigError(f"allow={name}: only your own packages can be allowed, and {root} is not one of them")
    return tuple(allow)


def find_allowed(allow: Sequence[str], folder: Path) -> list[str]:
    """Put a folder on Python's path if it holds a package that is allowed and found nowhere else.

    Returns:
        The packages that the folder holds.
    """
    here = []
    for root in dict.fromkeys(name.split(".")[0] for name in allow):
        there = (folder / root).is_dir() or (folder / f"{root}.py").is_file()
        if there and importlib.util.find_spec(root) is None:
            here.append(root)
    if here:
        sys.path.append(str(folder))
    return here


def refusal(target: Any, allow: Sequence[str] = ()) -> str:
    """Why a name is refused; empty when it may be imported. Only the name is read."""
    if not isinstance(target, str):
        return f"a _target_ is a dotted name in a string, not a {type(target).__name__}"
    parts = target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return "a _target_ is the dotted name of a class or function (package.module.Name)"
    if any(part.startswith("_") for part in parts):
        return "private and dunder names may not be reached from a configuration"
    if _below(target, allow):
        return ""
    if _below(target, DENIED):
        return f"{'.'.join(parts[:-1])} is internal and cannot be built from a configuration"
    if not _named(target, PATHS):
        if parts[0] in CORE_ROOTS:
            return f"{parts[0]} is allowed only where it holds building blocks (modules, optimizers, transforms ...)"
        return (
            "only visionattn, torch, torchvision, timm, lightning and torchmetrics may be named; "
            f"your own package needs allow=[{parts[0]}]"
        )
    if parts[0] != "visionattn" and _VERBS.match(parts[-1]):
        return "functions that read, write, download or execute are not allowed"
    return ""


def walk_targets(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(key path, target) of every ``_target_`` in a plain, resolved container, at any depth, in lists too."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node["_target_"]
        for name, value in node.items():
            yield from walk_targets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from walk_targets(value, f"{key}[{index}]")


def check_targets(node: Any, allow: Sequence[str] = ()) -> None:
    """Refuse every ``_target_`` of a config node that is not allowed, before anything is imported.

    The node is resolved first (aliases, interpolations, resolvers), so what is checked is what would be built.

    Raises:
        ConfigError: names the key path, the target and the reason.
    """
    from visionattn.config.messages import key_of, plain
    from visionattn.config.renames import with_new_names

    for key, target in walk_targets(with_new_names(plain(node)), key_of(node)):
        reject(key, target, refusal(target, allow))


def reject(key: str, target: Any, why: str) -> None:
    """Raise a ConfigError where there is a reason."""
    if why:
        raise ConfigError(f"{key or 'the configuration'}: _target_ {target!r} is refused: {why}")


def locate(target: str, allow: Sequence[str] = (), key: str = "") -> Callable[..., Any]:
    """Import an allowed target.

    Raises:
        ConfigError: it does not exist, or the object is defined elsewhere than the name says.
    """
    reject(key, target, refusal(target, allow))
    *modules, name = target.split(".")
    imported: Any = importlib.import_module(modules[0])
    for depth in range(1, len(modules) + 1):
        path, part = ".".join(modules[:depth]), (*modules, name)[depth]
        if not isinstance(imported, ModuleType) or imported.__name__ != path:
            what = (
                "an alias of another module"
                if isinstance(imported, ModuleType)
                else "not a module; methods and attributes are refused"
            )
            reject(key, target, f"{path} is {what}")
        imported = _member(imported, part, f"{path}.{part}", key, target)
    reject(key, target, _misplaced(imported, target, allow))
    return _guarded(imported, target, key)


def _member(module: ModuleType, part: str, path: str, key: str, target: str) -> Any:
    if hasattr(module, part):
        return getattr(module, part)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and not path.startswith(error.name):
            raise ConfigError(
                f"{key}: _target_ {target!r} needs the package {error.name}, which is not installed"
            ) from error
        from visionattn.config.messages import nearest

        hint = nearest(part, [name for name in dir(module) if not name.startswith("_")])
        raise ConfigError(
            f"{key}: _target_ {target!r} does not exist: {module.__name__} has no {part}{hint}"
        ) from error


def _misplaced(imported: Any, target: str, allow: Sequence[str]) -> str:
    """Why the object behind an allowed name is refused; empty when it is defined where the name says."""
    if not isinstance(imported, (type, FunctionType, BuiltinFunctionType)):
        return f"it is a {type(imported).__name__}, not a class or function of a module"
    home = getattr(imported, "__module__", None) or ""
    real = f"{home}.{imported.__qualname__}"
    if isinstance(imported, BuiltinFunctionType) and home == "torch" and target.startswith("torch.nn.functional."):
        return ""
    if "." in imported.__qualname__.replace("<locals>.", "") and isinstance(imported, BuiltinFunctionType):
        return f"it is the method {real}"
    if _below(home, allow):
        return ""
    if real == "timm.models._factory.create_model":
        return ""
    if _below(home, DENIED) or _below(real, DENIED) or not _below(home, HOMES):
        return f"it resolves to {real}, which is not allowed"
    if home.split(".")[0] != "visionattn" and _VERBS.match(imported.__qualname__):
        return f"it resolves to {real}; functions that read, write, download or execute are not allowed"
    return ""


def _guarded(imported: Callable[..., Any], target: str, key: str) -> Callable[..., Any]:
    """A model builder of timm that refuses arguments that would read a file or another repository."""
    if not (isinstance(imported, FunctionType) and imported.__module__.startswith("timm.models")):
        return imported

    @functools.wraps(imported)
    def build(*args: Any, **kwargs: Any) -> Any:
        named = inspect.signature(imported).bind_partial(*args, **kwargs).arguments
        named |= named.get("kwargs", {})
        for name in FETCHING_ARGUMENTS:
            if named.get(name):
                raise ConfigError(f"{key}: {target} does not accept {name}; use weights=... to load weights")
        if ":" in str(named.get("model_name", "")):
            raise ConfigError(f"{key}: {target} may build only timm's own models, not {named['model_name']!r}")
        return imported(*args, **kwargs)

    return build
