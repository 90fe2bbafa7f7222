"""Configurations from a stranger. Each would leave a mark (a file) if any of it ran; all are refused, by key."""

import pickle
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from tests.config.conftest import write_tree
from tests.config.corpus import BY_NAME, BY_PLACE, HIDDEN
from visionattn.config import check_allow, check_targets, compose, instantiate
from visionattn.config.messages import plain
from visionattn.config.targets import refusal, walk_targets
from visionattn.errors import ConfigError


class Leaves:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (self.mark, "w"))


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Where a mark would appear, a pickle and a module that would leave it."""
    mark = tmp_path / "mark"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Leaves(str(mark))))
    (tmp_path / "stranger.py").write_text(f"open({str(mark)!r}, 'w')\nclass Thing: pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)

    def fill(text):
        return text.format(mark=mark, pickle=tmp_path / "evil.pt")

    yield fill
    assert not mark.exists()
    assert "stranger" not in sys.modules


def test_the_trap_works(tmp_path):
    mark = tmp_path / "mark"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Leaves(str(mark))))
    with (tmp_path / "evil.pt").open("rb") as file:
        pickle.load(file).close()
    assert mark.exists()


@pytest.mark.parametrize("target", BY_NAME)
def test_refused_by_name(trap, target):
    node = OmegaConf.create({"part": {"_target_": target, "_args_": [trap(BY_NAME[target])]}})
    with pytest.raises(ConfigError, match="part: _target_") as caught:
        check_targets(node)
    assert repr(target) in str(caught.value)
    with pytest.raises(ConfigError, match="refused"):
        instantiate(node)


@pytest.mark.parametrize("target", BY_PLACE)
@pytest.mark.parametrize("partial", [False, True])
def test_refused_by_place(trap, target, partial):
    node = OmegaConf.create({"part": {"_target_": target, "_args_": [trap(BY_PLACE[target])], "_partial_": partial}})
    with pytest.raises(ConfigError, match=r"part: _target_ .* refused"):
        instantiate(node)


@pytest.mark.parametrize("target", [3, True, None, ["os.system"], {"_target_": "os.system"}, 1.5, b"os.system"])
def test_targets_that_are_not_strings(trap, target):
    with pytest.raises(ConfigError, match="dotted name"):
        instantiate({"part": {"_target_": target}})


@pytest.mark.parametrize("text", HIDDEN.values(), ids=list(HIDDEN))
def test_hidden_targets(trap, monkeypatch, text):
    monkeypatch.setenv("HOSTILE_TARGET", "os.system")
    node = OmegaConf.create(yaml.safe_load(text))
    with pytest.raises(ConfigError, match="_target_"):
        check_targets(node)
    with pytest.raises(ConfigError, match="_target_"):
        instantiate(node)


TIMM = {
    "a file": {"model_name": "resnet18", "checkpoint_path": "evil.pt"},
    "a file by its place": {"_args_": ["resnet18", False, None, None, "evil.pt"]},
    "a weight file": {"model_name": "resnet18", "pretrained": True, "pretrained_cfg": {"file": "evil.pt"}},
    "an overlay": {"model_name": "resnet18", "pretrained": True, "pretrained_cfg_overlay": {"file": "evil.pt"}},
    "a stranger's repository": {"model_name": "hf-hub:stranger/model"},
    "a stranger's folder": {"model_name": "local-dir:/tmp"},
}


@pytest.mark.parametrize("arguments", TIMM.values(), ids=list(TIMM))
@pytest.mark.parametrize("target", ["timm.create_model", "timm.models.create_model"])
def test_timm_reads_no_files(trap, target, arguments):
    with pytest.raises(ConfigError, match=r"does not accept|only timm's own"):
        instantiate({"net": {"_target_": target, **arguments}})
    partial = instantiate({"net": {"_target_": target, "_partial_": True}})["net"]
    keywords = {name: value for name, value in arguments.items() if name != "_args_"}
    with pytest.raises(ConfigError):
        partial(*arguments.get("_args_", ()), **keywords)


def test_a_timm_model_by_its_own_function(trap):
    with pytest.raises(ConfigError, match="does not accept pretrained_cfg"):
        instantiate({"_target_": "timm.models.resnet.resnet18", "pretrained": True, "pretrained_cfg": {"file": "x"}})


ALLOWED = [
    *("torch.nn.Linear", "torch.nn.GELU", "torch.nn.modules.linear.Linear", "torch.nn.functional.gelu"),
    *("torch.nn.functional.conv2d", "torch.nn.functional.cross_entropy", "torch.nn.init.trunc_normal_"),
    *("torch.optim.AdamW", "torch.optim.lr_scheduler.CosineAnnealingLR", "torch.optim.swa_utils.AveragedModel"),
    *("torch.utils.data.RandomSampler", "torch.utils.data.distributed.DistributedSampler"),
    *("torchvision.ops.StochasticDepth", "torchvision.ops.nms", "torchvision.transforms.v2.RandomHorizontalFlip"),
    *("torchvision.models.swin_t", "torchvision.transforms.Compose", "timm.create_model", "timm.models.resnet18"),
    *("timm.layers.DropPath", "timm.layers.trunc_normal_", "timm.optim.Lamb", "timm.optim.create_optimizer_v2"),
    *("timm.scheduler.CosineLRScheduler", "timm.loss.SoftTargetCrossEntropy", "timm.data.Mixup"),
    *("timm.data.transforms.RandomResizedCropAndInterpolation", "timm.data.create_transform", "timm.utils.ModelEmaV3"),
    *("lightning.Trainer", "lightning.pytorch.Trainer", "lightning.pytorch.callbacks.ModelCheckpoint"),
    *("lightning.pytorch.loggers.CSVLogger", "lightning.pytorch.loggers.TensorBoardLogger"),
    *("lightning.pytorch.profilers.SimpleProfiler", "lightning.pytorch.strategies.DDPStrategy"),
    *("lightning.pytorch.plugins.environments.SLURMEnvironment", "lightning.pytorch.plugins.MixedPrecision"),
    *("torchmetrics.classification.MulticlassAccuracy", "torchmetrics.Accuracy", "torchmetrics.MetricCollection"),
]


@pytest.mark.parametrize("target", ALLOWED)
def test_building_blocks_are_let_in(target):
    partial = instantiate({"_target_": target, "_partial_": True})
    assert callable(partial.func)


def test_own_packages_only_by_name(tmp_path, monkeypatch):
    package = write_tree(
        tmp_path / "lib",
        {
            "own_nets/__init__.py": "import os\nfrom own_nets.deep import Net\nfrom os import system as run\n",
            "own_nets/deep.py": "class Net:\n    @classmethod\n    def make(cls): return cls()\n",
        },
    )
    monkeypatch.syspath_prepend(package)
    with pytest.raises(ConfigError, match=r"needs allow=\[own_nets\]"):
        instantiate({"_target_": "own_nets.Net"})
    assert "own_nets" not in sys.modules
    assert type(instantiate({"_target_": "own_nets.Net"}, allow=["own_nets"])).__name__ == "Net"
    assert type(instantiate({"_target_": "own_nets.deep.Net"}, allow=["own_nets.deep"])).__name__ == "Net"
    for target in ("own_nets.os.system", "own_nets.run", "own_nets.deep.Net.make", "own_nets.__loader__.load_module"):
        with pytest.raises(ConfigError, match="refused"):
            instantiate({"_target_": target, "_args_": ["true"]}, allow=["own_nets"])
    with pytest.raises(ConfigError, match="own package needs"):
        instantiate({"_target_": "own_nets_too.Net"}, allow=["own_nets"])


@pytest.mark.parametrize(
    "name", ["os", "builtins", "torch", "torch.hub", "hydra", "subprocess.run", "_x", "a b", "", "x;y"]
)
def test_not_everything_can_be_allowed(name):
    with pytest.raises(ConfigError, match="allow"):
        check_allow([name])


def test_shipped_files_pass():
    """Every `_target_` written in the package's own YAML is allowed."""
    from visionattn.config.catalog import source_root

    seen = 0
    for file in source_root().rglob("*.yaml"):
        for key, target in walk_targets(yaml.safe_load(file.read_text(encoding="utf-8"))):
            assert refusal(target) == "", (file.name, key, target)
            seen += 1
    assert seen > 0


def test_nothing_heavy_is_imported_to_refuse():
    code = """
import sys
from visionattn.config import check_targets
try:
    check_targets({"a": {"_target_": "torch.hub.load"}})
except Exception as error:
    assert type(error).__name__ == "ConfigError", error
else:
    raise SystemExit("not refused")
assert not {"torch", "timm", "lightning", "hydra"} & set(sys.modules), "heavy"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_plain_refuses_circles_without_hanging():
    node = OmegaConf.create({"a": "${b.x}", "b": {"x": "${a}"}})
    with pytest.raises(ConfigError):
        plain(node)


def test_a_hostile_experiment_is_refused_whole(conf, tmp_path, trap):
    text = f"# @package _global_\nbackbone: {{_target_: os.system, _args_: ['touch {tmp_path}/mark']}}\n"
    mine = write_tree(tmp_path / "mine", {"experiment/evil.yaml": text})
    with pytest.raises(ConfigError, match=r"backbone: _target_ 'os\.system'"):
        check_targets(compose("train", ["experiment=evil"], [mine]).backbone)


REFERENCES = {
    "nodes": lambda level: [f"${{a{level - 1}}}"] * 9,
    "strings": lambda level: f"${{a{level - 1}}}" * 9,
    "a resolver": lambda level: [f"${{oc.select:a{level - 1}}}"] * 9,
    "mappings": lambda level: {f"k{place}": f"${{a{level - 1}}}" for place in range(9)},
    "relative": lambda level: [f"${{..a{level - 1}}}"] * 9,
}


@pytest.mark.parametrize("step", REFERENCES.values(), ids=list(REFERENCES))
def test_references_that_unfold_into_billions_are_refused_at_once(step):
    values = {"a0": ["x"] * 9} | {f"a{level}": step(level) for level in range(1, 12)}
    with pytest.raises(ConfigError, match=r"expands to more than .* values through references"):
        check_targets(OmegaConf.create(values))
