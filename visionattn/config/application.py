"""Hydra applications on conf/ and the user's folders, one beside the other.

Hydra keeps one application per process. ``isolated_hydra`` sets that one aside and puts it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visionattn.config import catalog
from visionattn.config.unfolding import LARGEST, aliased_size
from visionattn.errors import ConfigError


@contextmanager
def isolated_hydra(config_dirs: Sequence[str | Path] = (), job_name: str = "visionattn") -> Iterator[Any]:
    """A fresh Hydra on the package's conf/ and the user's folders.

    The process's own state comes back at the end, whatever happens.
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
    """Start the process's Hydra application on conf/ and ``config_dirs``."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    from visionattn.config.alias_source import ADDRESS
    from visionattn.config.respelling import SpellingLoader

    schema = SearchPathQuery(provider="schema")
    search_path = create_config_search_path(catalog.SOURCE)
    for folder in checked_dirs(config_dirs):
        search_path.prepend(provider="command-line", path=f"file://{folder}", anchor=schema)
    search_path.prepend(provider="visionattn", path=ADDRESS, anchor=schema)
    hydra = Hydra(task_name=job_name, config_loader=SpellingLoader(config_search_path=search_path))
    GlobalHydra.instance().initialize(hydra)
    return hydra


def checked_dirs(config_dirs: Sequence[str | Path]) -> list[Path]:
    """Absolute paths of the user's YAML folders.

    Raises:
        ConfigError: one is missing, or a file bears the name of one of the package's.
    """
    folders = []
    for folder in config_dirs:
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            raise ConfigError(f"--config-dir {folder} is not a folder")
        for file in path.rglob("*.yaml"):
            relative = file.relative_to(path).as_posix()
            if catalog.source_file(relative) is not None:
                raise ConfigError(
                    f"{file} has the name of a file that visionattn ships ({relative}), which takes precedence; "
                    "rename it"
                )
            if aliased_size(file, file.stat().st_mtime_ns) > LARGEST:
                raise ConfigError(f"{file} expands to more than {LARGEST} values through YAML aliases")
        folders.append(path)
    return folders
