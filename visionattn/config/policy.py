"""What the configurations of one command may build, bound once and handed on as one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visionattn.config.building import instantiate
from visionattn.config.hydra_nodes import check_hydra
from visionattn.config.targets import check_targets


@dataclass(frozen=True)
class BuildPolicy:
    """The package's own list of building blocks, and the packages that the user allowed.

    Attributes:
        allow: packages of the user's own that targets may name. Only the command line fills it.
    """

    allow: tuple[str, ...] = ()

    def check(self, node: Any) -> None:
        """Refuse every target of a config node that may not be built, before anything is imported.

        Raises:
            ConfigError: names the config key, the target and the reason.
        """
        check_targets(node, self.allow)

    def check_hydra(self, cfg: Any) -> None:
        """Refuse whatever the ``hydra`` node of a composed config would run that is not Hydra's.

        Raises:
            ConfigError: names the config key and the reason.
        """
        check_hydra(cfg, self.allow)

    def instantiate(self, node: Any, **kwargs: Any) -> Any:
        """Build what a config node describes; see :func:`visionattn.config.instantiate`.

        Raises:
            ConfigError: names the config key and the reason.
        """
        return instantiate(node, allow=self.allow, **kwargs)


DEFAULT_POLICY = BuildPolicy()
"""The package's own building blocks and nothing else."""
