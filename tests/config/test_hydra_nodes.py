"""What a file may do to Hydra: choose its plugins, format its log, and nothing else."""

import pytest

from tests.config.conftest import write_tree
from visionattn.config import check_hydra, compose
from visionattn.errors import ConfigError

LOG = "hydra.experimental.callbacks.LogJobReturnCallback"
HOSTILE = {
    "launcher": "launcher: {_target_: os.system}",
    "sweeper": "sweeper: {_target_: stranger.Sweeper}",
    "a callback's part": f"callbacks: {{a: {{_target_: {LOG}, x: [{{_target_: os.system}}]}}}}",
    "a look-alike plugin": "launcher: {_target_: hydra_plugins_evil.Launcher}",
    "a plugin's attribute": "launcher: {_target_: 'hydra._internal.utils._locate'}",
    "callback": "callbacks: {evil: {_target_: os.system, command: touch mark}}",
    "a callback among good ones": f"callbacks: {{a: {{_target_: {LOG}}}, b: {{_target_: os.x}}}}",
    "a pickling callback": "callbacks: {a: {_target_: hydra.experimental.callbacks.PickleJobInfoCallback}}",
    "a log factory": "job_logging: {handlers: {x: {(): os.system, command: touch mark}}}",
    "a log class": "job_logging: {handlers: {x: {class: subprocess.Popen, args: touch mark}}}",
    "a formatter class": "job_logging: {formatters: {x: {class: stranger.Formatter}}}",
    "a filter": "hydra_logging: {filters: {x: {(): stranger.Filter}}}",
    "a reference": "job_logging: {handlers: {x: {class: logging.StreamHandler, stream: 'ext://os.environ'}}}",
    "a factory by reference": "job_logging: {handlers: {x: {(): 'ext://os.system'}}}",
    "a socket": "job_logging: {handlers: {x: {class: logging.handlers.SocketHandler, host: h, port: 1}}}",
    "attributes": "job_logging: {handlers: {x: {class: logging.NullHandler, '.': {emit: x}}}}",
    "PYTHONPATH": "job: {env_set: {PYTHONPATH: /tmp}}",
    "LD_PRELOAD": "job: {env_set: {LD_PRELOAD: /tmp/x.so}}",
    "compiled code": "job: {env_set: {TORCHINDUCTOR_CACHE_DIR: /tmp}}",
    "look-alike variable": "job: {env_set: {OMP_NUM_THREADS_X: 1}}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_refused(conf, tmp_path, text):
    mine = write_tree(tmp_path / "mine", {"experiment/evil.yaml": f"# @package _global_\nhydra: {{{text}}}\n"})
    cfg = compose("train", ["experiment=evil"], [mine], return_hydra_config=True)
    with pytest.raises(ConfigError, match=r"^hydra\."):
        check_hydra(cfg)


def test_the_usual_passes(conf, tmp_path):
    text = """
    # @package _global_
    hydra:
      callbacks: {log: {_target_: hydra.experimental.callbacks.LogJobReturnCallback}}
      job: {env_set: {OMP_NUM_THREADS: "2", CUDA_VISIBLE_DEVICES: "0"}}
    """
    mine = write_tree(tmp_path / "mine", {"experiment/good.yaml": text})
    choices = ["experiment=good", "hydra/job_logging=default", "hydra/hydra_logging=default"]
    check_hydra(compose("train", choices, [mine], return_hydra_config=True))


def test_a_named_package_may_be_a_callback(conf):
    cfg = compose("train", ["+hydra.callbacks.mine._target_=own_pkg.Callback"], return_hydra_config=True)
    with pytest.raises(ConfigError, match=r"hydra\.callbacks\.mine"):
        check_hydra(cfg)
    check_hydra(cfg, ["own_pkg"])
