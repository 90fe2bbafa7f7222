"""``--cfg``: the composed configuration, printed instead of run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionattn.cli.arguments import Request

if TYPE_CHECKING:
    from omegaconf import DictConfig


def show_config(cfg: DictConfig, request: Request) -> int:
    """Print what ``--cfg job|hydra|all`` asks for."""
    from omegaconf import OmegaConf

    from visionattn.config.hydra_nodes import resolvable
    from visionattn.config.messages import plain, unresolved_plain

    with resolvable(cfg) as whole:
        names = [str(name) for name in whole if request.cfg == "all" or (name == "hydra") == (request.cfg == "hydra")]
        written = unresolved_plain(whole)
        values = {name: plain(whole[name]) if request.resolve else written[name] for name in names}
    print(OmegaConf.to_yaml(OmegaConf.create(values), resolve=False), end="")
    return 0
