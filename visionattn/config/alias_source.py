"""Hydra's view of the old names: a source of configurations that holds, for each, a file with one line.

The line inherits the file of the new name. Because Hydra itself looks the old name up, it works wherever a name can
stand: on the command line, in a sweep, in the defaults of somebody's own YAML. Lists do not show it.
"""

from __future__ import annotations

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from visionattn.config.aliases import FILES, current_file

SCHEME = "visionattn-renamed"
ADDRESS = f"{SCHEME}://"


class RenamedFiles(ConfigSource):
    """The configurations of :data:`visionattn.config.aliases.FILES`, under their old names."""

    @staticmethod
    def scheme() -> str:
        """The prefix of this source's address."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """A configuration that only inherits the one of the new name."""
        new = current_file(config_path.removesuffix(".yaml"))
        config = OmegaConf.create({"defaults": [f"/{new}@_here_"]})
        return ConfigResult(self.provider, self.full_path(), config, self._get_header_dict(""))

    def is_config(self, config_path: str) -> bool:
        """Whether a path is an old name."""
        return config_path.removesuffix(".yaml") in FILES

    def is_group(self, config_path: str) -> bool:
        """No group: nothing of this source is listed."""
        return False

    def available(self) -> bool:
        """Always there."""
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Nothing: an old name is found when it is asked for."""
        return []


SourcesRegistry.instance().register(RenamedFiles)
