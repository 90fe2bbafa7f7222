"""A stand-in for `visionattn train`, on the small configuration tree of tests/config."""

import os
import sys
import types

import pytest

import visionattn.backbones.zoo  # noqa: F401 - registers the package's own backbones, before `conf` takes its place
from tests.config.conftest import conf, write_tree  # noqa: F401 - fixtures
from visionattn.errors import DataError


class Train:
    """Remembers how it was called; `name` says how to end."""

    def __init__(self):
        self.calls = []

    def __call__(self, cfg, *, dry_run, run_dir, command, policy):
        call = {"cfg": cfg, "dry_run": dry_run, "run_dir": run_dir, "command": command, "policy": policy}
        self.calls.append({**call, "there": run_dir.is_dir(), "own_run_dir": cfg.get("run_dir")})
        if cfg.name == "user_error":
            raise DataError("there is no folder x; give data.dir=...")
        if cfg.name == "bug":
            raise ZeroDivisionError("oops")
        if cfg.name == "ctrl_c":
            raise KeyboardInterrupt
        return None if dry_run else {"top1": 0.9 + cfg.seed / 100, "where": str(run_dir)}


@pytest.fixture
def train(conf, tmp_path, monkeypatch):  # noqa: F811
    stand_in = Train()
    module = types.ModuleType("visionattn.commands.train")
    module.run = stand_in
    monkeypatch.setitem(sys.modules, "visionattn.commands.train", module)
    evaluate = types.ModuleType("visionattn.commands.evaluate")
    evaluate.run = stand_in
    monkeypatch.setitem(sys.modules, "visionattn.commands.evaluate", evaluate)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK"):
            monkeypatch.delenv(name)
    return stand_in


@pytest.fixture
def tree():
    return write_tree
