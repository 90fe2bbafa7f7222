"""Composing the package's configurations: in a notebook, in a running job, or inside another composition.

Hydra is imported on the first call.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionattn.config.application import isolated_hydra
from visionattn.config.run_keys import as_additions
from visionattn.config.spelling import ours
from visionattn.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ALLOW_IN_FILE = (
    "a configuration file has the key 'allow'; packages can be allowed on the command line alone (allow=[my_package])"
)
_PLAIN = re.compile(r"[\w./:,+-]*", re.ASCII)
"""Values that Hydra's grammar reads for certain."""
_lock = threading.RLock()


def compose(
    config_name: str,
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    return_hydra_config: bool = False,
    sweep: bool = False,
) -> DictConfig:
    """The composed configuration, unresolved, in struct mode.

    Args:
        config_name: a root file of conf/ (or, as ``backbone/swin_tiny``, any file of it).
        overrides: as on the command line.
        config_dirs: folders with the user's own YAML, which add files to the groups and may not replace the package's.
        return_hydra_config: keep the ``hydra`` node.
        sweep: overrides may hold choices (``a=1,2``), which are left aside.

    Raises:
        ConfigError: something does not exist; names the nearest key or the choices.
    """
    from omegaconf import open_dict

    with _lock, isolated_hydra(config_dirs) as hydra:
        cfg = compose_in(hydra, config_name, overrides, sweep)
    if not return_hydra_config:
        with open_dict(cfg):
            del cfg["hydra"]
    return cfg


def compose_in(hydra: Any, config_name: str, overrides: Sequence[str], sweep: bool = False) -> DictConfig:
    """Compose in a given Hydra application; the ``hydra`` node stays.

    Args:
        hydra: see :func:`visionattn.config.application.isolated_hydra`.
        config_name: a root file of conf/.
        overrides: as on the command line.
        sweep: overrides may hold choices (``a=1,2``), which are left aside.

    Raises:
        ConfigError: something does not exist; names the nearest key or the choices.
    """
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    current = as_additions(config_name, ours(overrides))
    try:
        mode = RunMode.MULTIRUN if sweep else RunMode.RUN
        cfg: DictConfig = hydra.compose_config(config_name, current, run_mode=mode, from_shell=False)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        from visionattn.config.explaining import explain

        raise explain(error, hydra, config_name, current) from error
    if "allow" in cfg:
        raise ConfigError(_ALLOW_IN_FILE)
    return cfg


def quoted(text: str) -> str:
    """A value for an override, whatever characters it holds."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def as_override(key: str, value: Any) -> str:
    """An override as on the command line, for a key and a value of Python's."""
    return f"{key}={_written(value)}"


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}: {_written(one)}' for name, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, str | Path):
        text = str(value)
        return text if re.fullmatch(r"[A-Za-z_][\w./]*", text, re.ASCII) else quoted(text)
    return str(value)


def readable(override: str) -> str:
    """The override, its value quoted where Hydra's grammar has no place for it, as for most paths and addresses.

    Lists, mappings and quoted values stay as they are, so that a mistake in them is told.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = override.partition("=")
    if not equals or value[:1] in ("", "[", "{", "'", '"') or _PLAIN.fullmatch(value):
        return override
    try:
        OverridesParser.create().parse_overrides([override])
    except HydraException:
        return f"{key}={quoted(value)}"
    return override
