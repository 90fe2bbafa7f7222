"""Hydra's composition of ``train.yaml`` with the choices that nobody made, wherever Hydra composes.

On the command line, in every job of a sweep and in the processes of a job, Hydra asks its loader for a configuration.
This one looks at the choices first (file names and a few keys, nothing is merged), adds those of
:func:`visionattn.config.recipes.settle`, and composes once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.config.recipes import Chosen, settle

ROOT = "train"
"""The configuration that has recipes."""
_GROUPS = ("task", "data", "head")


class RecipeLoader(ConfigLoaderImpl):
    """Hydra's loader; ``train.yaml`` gets a recipe, and the task and head that its data ask for."""

    _repo: CachingConfigRepository | None = None
    _loaded: Collection[str] = ()
    _known: dict[str, Any]

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        if config_name != ROOT or not repo.group_exists("recipe"):
            return super()._load_configuration_impl(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        sweep = run_mode == RunMode.MULTIRUN
        found = create_defaults_list(repo, config_name, parsed, prepend_hydra=True, skip_missing=sweep)
        added = settle(_look(config_name, parsed, found, repo))
        words = [*(f"{group}={name}" for group, name in added.items()), *overrides]
        self._repo = repo  # its files are read by now
        try:
            cfg = super()._load_configuration_impl(config_name, words, run_mode, from_shell, validate_sweep_overrides)
        finally:
            self._repo = None
        _record(cfg, parsed)
        return cfg

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed, repo = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        return parsed, self._repo or repo

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        self._loaded, self._known = {str(default.config_path) for default in defaults}, {}
        return super()._compose_config_from_defaults_list(defaults, repo)

    def _load_single_config(self, default: ResultDefault, repo: Any) -> ConfigResult:
        result = super()._load_single_config(default, repo)
        if self._repo is None or not isinstance(result.config, DictConfig):
            return result
        if str(default.config_path).startswith("recipe/"):
            values: Any = OmegaConf.to_container(result.config)
            result.config = OmegaConf.create(_concerning(values, self._known, self._foreign(repo)))
        elif default.package in _SECTIONS:
            _note(self._known, OmegaConf.to_container(result.config))
        return result

    def _foreign(self, repo: Any) -> set[str]:
        """Groups of which another file is chosen than the recipe names."""
        paths = [path for path in self._loaded if path.startswith("recipe/")]
        entries = [entry for path in paths for entry in repo.load_config(config_path=path).defaults_list or ()]
        named = [entry for entry in entries if isinstance(entry, GroupDefault) and entry.is_override()]
        files = {str(entry.group).lstrip("/"): f"{entry.group}/{entry.value}".lstrip("/") for entry in named}
        return {group for group, path in files.items() if path not in self._loaded}


_SECTIONS = ("data", "task", "optim", "schedule", "trainer", "callbacks", "backbone", "head")


def _look(config_name: str, parsed: list[Override], found: Any, repo: CachingConfigRepository) -> Chosen:
    """What is chosen, from the list of files that Hydra would merge."""
    given = {str(word.get_key_element()).lstrip("+~") for word in parsed}
    values: dict[str, Any] = {}
    for default in found.defaults:
        if default.config_path is None or str(default.config_path).startswith("hydra/"):
            continue
        result = repo.load_config(config_path=default.config_path)
        assert result is not None
        if default.config_path != config_name:
            given |= set(_overridden(result.defaults_list or ()))
        package = str(default.package or "")
        if isinstance(result.config, DictConfig) and package in ("", "_global_", *_GROUPS):
            values |= dict(_telling(OmegaConf.to_container(result.config), package))
    for word in found.config_overrides:
        if word.key_or_group == "weights" and not word.is_delete():
            values["weights"] = word.value()
    targets = {group: values.get(f"{group}._target_") for group in _GROUPS}
    return Chosen(found.overrides.known_choices, given, targets, values.get("weights"))


def _overridden(defaults: Any) -> Iterator[str]:
    """Groups that a file's own list of defaults sets."""
    for entry in defaults:
        if isinstance(entry, GroupDefault) and entry.is_override():
            yield str(entry.group).lstrip("/")


def _telling(values: Any, package: str) -> Iterator[tuple[str, Any]]:
    """The weights that a file names, and what it builds as task, data and head."""
    if package in _GROUPS and "_target_" in values:
        yield f"{package}._target_", values["_target_"]
    elif package in ("", "_global_"):
        if "weights" in values:
            yield "weights", values["weights"]
        for group in _GROUPS:
            if isinstance(values.get(group), dict):
                yield from _telling(values[group], group)


def _note(known: dict[str, Any], values: Any) -> None:
    """Merge the keys of a file into those known so far, as Hydra does."""
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict):
            _note(known[key], value)
        else:
            known[key] = value


def _concerning(values: dict[str, Any], known: dict[str, Any], foreign: set[str]) -> dict[str, Any]:
    """What of a recipe concerns the chosen parts; the batch that a rate is for belongs to the optimizer."""
    if "optim" in foreign:
        task = {key: value for key, value in values.get("task", {}).items() if not key.startswith("lr_base_")}
        values = {**values, "task": task}
    return {key: _within(part, known.get(key)) for key, part in values.items() if key not in foreign}


def _within(values: Any, known: Any) -> Any:
    if not isinstance(values, dict):
        return values
    kept = known if isinstance(known, dict) else {}
    return {
        key: _within(value, kept[key])
        for key, value in values.items()
        if key in kept and isinstance(value, dict) <= isinstance(kept[key], dict)
    }


def _record(cfg: DictConfig, parsed: list[Override]) -> None:
    """Leave in the record of the overrides what was typed; the rest follows from it again."""
    typed = [word for word in parsed if not word.is_hydra_override()]
    options = cfg.hydra.job.config.override_dirname
    with open_dict(cfg):
        cfg.recipe_name = cfg.hydra.runtime.choices.get("recipe")
        cfg.hydra.overrides.task = [word.input_line for word in typed]
        cfg.hydra.job.override_dirname = get_overrides_dirname(
            overrides=typed,
            kv_sep=options.kv_sep,
            item_sep=options.item_sep,
            exclude_keys=list(options.exclude_keys),
        )
