"""Composing the package's configurations, from anywhere.

Hydra keeps one application per process. `compose` sets that one aside, composes in a fresh one, and puts it back, so it
works in a notebook, in a running `visionattn` job, and inside itself. Hydra is imported on the first call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionattn.config.messages import one_line
from visionattn.config.unfolding import LARGEST, aliased_size
from visionattn.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SOURCE = "pkg://visionattn.conf"
_ALLOW_IN_FILE = (
    "the key 'allow' stands in a configuration file; which packages may be imported is only ever said "
    "on the command line (allow=[my_package])"
)
_lock = threading.RLock()


def compose(
    config_name: str,
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    return_hydra_config: bool = False,
    sweep: bool = False,
) -> DictConfig:
    """The composed configuration, unresolved, in struct mode.

    `config_name`: a root file of conf/ (or, as 'backbone/swin_tiny', any file of it). `overrides`: as on the command
    line. `config_dirs`: folders with the user's own YAML, which add files to the groups and may not replace the
    package's. `return_hydra_config`: keep the `hydra` node. `sweep`: overrides may hold choices (`a=1,2`), which are
    left aside. Raises ConfigError with the nearest key or the choices when something does not exist.
    """
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    with _lock, isolated_hydra(config_dirs) as hydra:
        try:
            cfg = load(hydra, config_name, overrides, sweep)
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
            from visionattn.config.explaining import explain

            raise explain(error, hydra, config_name, list(overrides)) from error
    if "allow" in cfg:
        raise ConfigError(_ALLOW_IN_FILE)
    if not return_hydra_config:
        with open_dict(cfg):
            del cfg["hydra"]
    return cfg


def load(hydra: Any, config_name: str, overrides: Sequence[str], sweep: bool = False) -> DictConfig:
    """One composition in a given Hydra, errors as Hydra raises them."""
    from hydra.types import RunMode

    mode = RunMode.MULTIRUN if sweep else RunMode.RUN
    cfg: DictConfig = hydra.compose_config(config_name, list(overrides), run_mode=mode, from_shell=False)
    return cfg


@contextmanager
def isolated_hydra(config_dirs: Sequence[str | Path] = (), job_name: str = "visionattn") -> Iterator[Any]:
    """A fresh Hydra on the package's conf/ and the user's folders; the process's own state comes back at the end,
    whatever happens.
    """
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime

    kinds = (GlobalHydra, JobRuntime, version.VersionBase)
    state = {kind: Singleton._instances.pop(kind, None) for kind in kinds}
    try:
        version.setbase("1.3")
        yield open_hydra(config_dirs, job_name)
    finally:
        for kind, instance in state.items():
            Singleton._instances.pop(kind, None)
            if instance is not None:
                Singleton._instances[kind] = instance


def open_hydra(config_dirs: Sequence[str | Path], job_name: str) -> Any:
    """Starts the process's Hydra application on conf/ and `config_dirs`."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery

    search_path = create_config_search_path(SOURCE)
    for folder in checked_dirs(config_dirs):
        search_path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    return Hydra.create_main_hydra2(task_name=job_name, config_search_path=search_path)


def checked_dirs(config_dirs: Sequence[str | Path]) -> list[Path]:
    """Absolute paths of the user's YAML folders. ConfigError when one is missing or a file bears the name of one of the
    package's.
    """
    folders = []
    for folder in config_dirs:
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            raise ConfigError(f"--config-dir {folder} is not a folder")
        for file in path.rglob("*.yaml"):
            relative = file.relative_to(path).as_posix()
            if source_file(relative) is not None:
                raise ConfigError(
                    f"{file} has the name of a file that visionattn ships ({relative}), which would win; rename it"
                )
            if aliased_size(file, file.stat().st_mtime_ns) > LARGEST:
                raise ConfigError(f"{file} holds more than {LARGEST} values once its aliases are written out")
        folders.append(path)
    return folders


def source_file(relative: str) -> Any:
    """The package's own conf/ file of that relative name (a path-like resource), or None."""
    found = source_root().joinpath(*relative.split("/"))
    return found if found.is_file() else None


def source_root() -> Any:
    """The folder of the package's YAML, as a path-like resource."""
    if SOURCE.startswith("file://"):
        return Path(SOURCE.removeprefix("file://"))
    from importlib.resources import files

    return files(SOURCE.removeprefix("pkg://"))


def choices(group: str, config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Names of the YAML files of a group and, as `folder/name`, of the folders in it, without importing Hydra. A
    leading underscore or the name `base` marks a part, not a choice.
    """
    names: set[str] = set()
    for root in (source_root(), *(Path(folder) for folder in config_dirs)):
        names.update(_yaml_names(root.joinpath(*group.split("/"))))
    return sorted(name for name in names if is_choice(name))


def is_choice(name: str) -> bool:
    """Whether a YAML file, also one in a folder of its group, is a choice and not a part."""
    last = name.rpartition("/")[2]
    return not last.startswith("_") and last != "base"


def _yaml_names(folder: Any, prefix: str = "") -> Iterator[str]:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir():
            yield from _yaml_names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name[:-5]


def groups(config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Names of the groups (folders of conf/)."""
    roots = (source_root(), *(Path(folder) for folder in config_dirs))
    names = {folder.name for root in roots for folder in root.iterdir() if folder.is_dir()}
    return sorted(name for name in names if not name.startswith(("_", ".")) and name != "hydra")


def parse(overrides: Sequence[str]) -> list[Any]:
    """Hydra's parsed overrides. ConfigError that names the one that cannot be read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parsed = []
    for text in overrides:
        try:
            parsed.extend(OverridesParser.create().parse_overrides([text]))
        except HydraException as error:
            raise ConfigError(f"cannot read the override {text!r}: {one_line(error)}") from error
    return parsed


def quoted(text: str) -> str:
    """A value for an override, whatever characters it holds."""
    return "'" + text.replace("'", "\\'") + "'"
