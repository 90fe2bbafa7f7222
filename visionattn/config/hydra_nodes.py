"""What a configuration may do to Hydra itself.

Hydra builds its launcher, sweeper and callbacks from ``_target_``, its logging from factories, and sets environment
variables, all from YAML. Allowed are only Hydra's own plugins and installed ``hydra_plugins``, plain log handlers, and
harmless variables (PYTHONPATH or a cache folder of compiled code would run a stranger's files in the next process).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from visionattn.config.messages import plain
from visionattn.config.targets import walk_targets
from visionattn.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")
_CALLBACKS = ("hydra.experimental.callbacks.LogJobReturnCallback",)
_SAMPLERS = re.compile(r"optuna\.samplers\.[A-Z][A-Za-z]*Sampler")  # what the Optuna sweeper's own files name
_LOG_CLASSES = frozenset(
    {
        *(
            "logging.StreamHandler",
            "logging.FileHandler",
            "logging.NullHandler",
            "logging.Formatter",
            "rich.logging.RichHandler",
        ),
        *(
            "logging.handlers.RotatingFileHandler",
            "logging.handlers.TimedRotatingFileHandler",
            "colorlog.ColoredFormatter",
        ),
    }
)
_LOG_STREAMS = frozenset({"ext://sys.stdout", "ext://sys.stderr"})
_VARIABLES = re.compile(
    r"(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS|CUDA_VISIBLE_DEVICES|NCCL_(DEBUG|SOCKET_IFNAME|IB_DISABLE|P2P_DISABLE)"
    r"|GLOO_SOCKET_IFNAME|WANDB_MODE|HF_HUB_OFFLINE|TOKENIZERS_PARALLELISM|CUBLAS_WORKSPACE_CONFIG|PYTORCH_(CUDA_)?ALLOC_CONF"
)


def check_hydra(cfg: DictConfig, allow: Sequence[str] = ()) -> None:
    """Refuse in the ``hydra`` node of a composed config whatever would run code that is not Hydra's.

    Raises:
        ConfigError: names the key and the reason.
    """
    with resolvable(cfg) as whole:
        hydra = whole.hydra
        for name in ("launcher", "sweeper", "callbacks"):
            _check_plugins(plain(hydra.get(name)), f"hydra.{name}", allow)
        for name in ("job_logging", "hydra_logging"):
            _check_logging(plain(hydra.get(name)), f"hydra.{name}")
        for variable in plain(hydra.job.env_set):
            if not _VARIABLES.fullmatch(str(variable)):
                raise ConfigError(
                    f"hydra.job.env_set.{variable}: a configuration may not set this variable; set it in your shell"
                )


@contextmanager
def resolvable(cfg: DictConfig) -> Iterator[DictConfig]:
    """A copy in which ``${hydra:...}`` and the run directory resolve as they will in the job.

    The directory is a placeholder.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict, read_write

    whole = copy.deepcopy(cfg)
    with read_write(whole), open_dict(whole):
        runtime, job = whole.hydra.runtime, whole.hydra.job
        if OmegaConf.is_missing(runtime, "output_dir"):
            runtime.output_dir = "outputs"
        for name, value in (("id", "0"), ("num", 0)):
            if OmegaConf.is_missing(job, name):
                job[name] = value
    holder = HydraConfig.instance()
    before = holder.cfg
    try:
        holder.set_config(whole)
        yield whole
    finally:
        holder.cfg = before


def _check_plugins(values: Any, key: str, allow: Sequence[str]) -> None:
    for where, target in walk_targets(values, key):
        known = isinstance(target, str) and all(part.isidentifier() for part in target.split("."))
        own = known and (target.startswith(_PLUGINS) or target in _CALLBACKS or _SAMPLERS.fullmatch(target) is not None)
        named = known and any(target == name or target.startswith(name + ".") for name in allow)
        if not (own or named):
            raise ConfigError(
                f"{where}: _target_ {target!r} is refused: only Hydra's own and installed hydra_plugins may stand here"
            )


def _check_logging(values: Any, key: str) -> None:
    """Refuse log handlers that run code: ``dictConfig`` calls whatever ``class``, ``()`` and ``ext://`` name."""
    if isinstance(values, dict):
        for name, value in values.items():
            if name in ("class", "()") and value not in _LOG_CLASSES:
                raise ConfigError(
                    f"{key}.{name}: {value!r} is refused: only plain log handlers and formatters may be named"
                )
            if name == ".":
                raise ConfigError(f"{key}: setting attributes of log handlers ('.') is refused")
            _check_logging(value, f"{key}.{name}")
    elif isinstance(values, list):
        for index, value in enumerate(values):
            _check_logging(value, f"{key}[{index}]")
    elif isinstance(values, str) and values.strip().startswith("ext://") and values not in _LOG_STREAMS:
        raise ConfigError(f"{key}: {values!r} is refused: a log stream is ext://sys.stdout or ext://sys.stderr")
