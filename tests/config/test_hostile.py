"""Configurations from a stranger. Each would leave a mark (a file) if any of it ran; all are refused, by key."""

import pickle
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from visionattn.config import check_allow, check_targets, compose, instantiate
from visionattn.config.messages import plain
from visionattn.config.targets import refusal, walk_targets
from visionattn.errors import ConfigError

from .conftest import write_tree

# Refused by its name alone, before anything is imported. {mark}: the file to leave; {pickle}: a pickle that leaves it.
BY_NAME = {
    "os.system": "touch {mark}",
    "posix.system": "touch {mark}",
    "nt.system": "touch {mark}",
    "subprocess.run": "touch {mark}",
    "subprocess.Popen": "touch {mark}",
    "pathlib.Path.touch": "{mark}",
    "pathlib.Path": "{mark}",
    "shutil.rmtree": "{mark}",
    "builtins.eval": "open('{mark}', 'w')",
    "builtins.exec": "open('{mark}', 'w')",
    "builtins.open": "{mark}",
    "builtins.__import__": "stranger",
    "importlib.import_module": "stranger",
    "runpy.run_path": "{pickle}",
    "runpy.run_module": "stranger",
    "pickle.loads": "x",
    "pickle.load": "{pickle}",
    "marshal.loads": "x",
    "functools.partial": "os.system",
    "operator.methodcaller": "system",
    "webbrowser.open": "http://localhost",
    "urllib.request.urlopen": "http://localhost",
    "logging.os.system": "touch {mark}",
    "logging.config.dictConfig": "{mark}",
    "stranger.Thing": "x",
    "stranger": "x",
    "hydra.utils.get_method": "os.system",
    "hydra.utils.get_class": "stranger.Thing",
    "hydra.utils.get_object": "os.system",
    "hydra.utils.call": "x",
    "hydra.utils.instantiate": "x",
    "hydra._internal.utils._locate": "stranger",
    "hydra.core.plugins.Plugins": "x",
    "omegaconf.OmegaConf.register_new_resolver": "x",
    "torch.load": "{pickle}",
    "torch.serialization.load": "{pickle}",
    "torch.os.system": "touch {mark}",
    "torch.sys.modules": "x",
    "torch.hub.load": "stranger/stranger",
    "torch.hub.load_state_dict_from_url": "http://localhost",
    "torch.hub.os.system": "touch {mark}",
    "torch.jit.load": "{pickle}",
    "torch.package.PackageImporter": "{pickle}",
    "torch.utils.cpp_extension.load": "{mark}",
    "torch.utils.cpp_extension.load_inline": "{mark}",
    "torch.utils.cpp_extension.subprocess.run": "touch {mark}",
    "torch.utils.model_zoo.load_url": "http://localhost",
    "torch.utils.data.datapipes.utils.decoder.basichandlers": "x",
    "torch.utils.checkpoint.checkpoint": "x",
    "torch._dynamo.utils.import_submodule": "stranger",
    "torch._utils_internal.os.system": "touch {mark}",
    "torch.compile": "x",
    "torch.multiprocessing.spawn": "x",
    "torch.distributed.run.main": "x",
    "torch.nn.parallel.parallel_apply": "x",
    "torch.nn.Module.__class__": "x",
    "torch.nn.__loader__.load_module": "stranger",
    "torch.nn.functional.__builtins__": "x",
    "torch.nn.attention.register_flash_attention_impl": "x",
    "torchvision.datasets.utils.download_url": "http://localhost",
    "torchvision.io.read_file": "{pickle}",
    "torchvision.models.feature_extraction.create_feature_extractor": "x",
    "timm.models.load_checkpoint": "{pickle}",
    "timm.models.load_state_dict": "{pickle}",
    "timm.models._helpers.load_state_dict": "{pickle}",
    "timm.models.load_model_config_from_hf": "stranger/stranger",
    "timm.utils.ModelEma": "{pickle}",
    "timm.data.create_dataset": "{mark}",
    "lightning.pytorch.cli.instantiate_class": "os.system",
    "lightning.pytorch.cli.LightningCLI": "x",
    "lightning.fabric.utilities.cloud_io._load": "{pickle}",
    "lightning.fabric.plugins.io.torch_io.pl_load": "{pickle}",
    "lightning.pytorch.LightningModule.load_from_checkpoint": "{pickle}",
    "lightning_fabric.utilities.cloud_io.get_filesystem": "x",
    "torchmetrics.utilities.imports.importlib.import_module": "stranger",
    "torchmetrics.text.BERTScore": "stranger/stranger",
    "visionattn.config.instantiate": "x",
    "visionattn.config.building.locate": "os.system",
    "visionattn.cli.main": "x",
    "visionattn.commands.train.run": "x",
    "visionattn.__main__.main": "x",
    "visionattn.kernels.op.Op": "x",
    "torch..nn.Linear": "x",
    ".torch.nn.Linear": "x",
    "torch.nn.Linear.": "x",
    "torch.nn.Linear;import os": "x",
    "torch/nn/Linear": "x",
    "os": "x",
    "": "x",
}
# An allowed name that leads elsewhere: refused once imported, before it is called.
BY_PLACE = {
    "torch.nn.modules.module.torch.load": "{pickle}",
    "torch.nn.modules.module.torch.hub.load": "stranger",
    "torch.nn.modules.module.functools.partial": "x",
    "torch.nn.modules.module.warnings.sys.exit": "x",
    "torch.nn.functional.importlib.import_module": "stranger",
    "torch.nn.functional.handle_torch_function": "x",
    "torch.nn.functional.boolean_dispatch": "x",
    "torch.nn.Module.register_forward_hook": "x",
    "torch.nn.Module.load_state_dict": "x",
    "torch.nn.Linear.forward": "x",
    "torch.optim.optimizer.torch.load": "{pickle}",
    "torch.optim.optimizer.functools.partial": "x",
    "torch.optim.swa_utils.deepcopy": "x",
    "torch.optim.lr_scheduler.partial": "x",
    "torchvision.models._api.load_state_dict_from_url": "http://localhost",
    "torchvision.models.swin_transformer.partial": "x",
    "torchvision.transforms.transforms.torch.load": "{pickle}",
    "timm.models.vision_transformer.torch.load": "{pickle}",
    "timm.models.vision_transformer.build_model_with_cfg": "x",
    "timm.models.vision_transformer.partial": "x",
    "timm.layers.create_act.is_exportable.__globals__": "x",
    "timm.optim.lookahead.defaultdict": "x",
    "lightning.pytorch.callbacks.model_checkpoint.os.system": "touch {mark}",
    "lightning.pytorch.callbacks.model_checkpoint.shutil.rmtree": "{mark}",
    "lightning.pytorch.plugins.io.TorchCheckpointIO.load_checkpoint": "{pickle}",
    "lightning.pytorch.loggers.csv_logs.os.system": "touch {mark}",
    "torchmetrics.classification.accuracy.Any": "x",
    "torchmetrics.detection.mean_ap.torch.load": "{pickle}",
    "torchmetrics.Metric.load_state_dict": "x",
    "visionattn.errors.VisionAttnError.__init__": "x",
}


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


HIDDEN = {
    "nested": "{a: {b: [1, {c: {_target_: os.system}}]}}",
    "in args": "{_target_: torch.nn.Sequential, _args_: [{_target_: os.system}]}",
    "in an argument": "{_target_: torch.nn.Sequential, x: {y: {_target_: os.system}}}",
    "not recursive": "{_target_: torch.nn.Identity, _recursive_: false, x: {_target_: os.system}}",
    "under an alias": "{base: &b {_target_: os.system}, part: *b}",
    "merged": "{base: &b {_target_: os.system}, part: {<<: *b, x: 1}}",
    "interpolated name": "{part: {_target_: '${name}'}, name: os.system}",
    "half a name": "{part: {_target_: 'os.${verb}'}, verb: system}",
    "interpolated node": "{part: '${other}', other: {_target_: os.system}}",
    "two steps": "{a: {_target_: '${b}'}, b: '${c}', c: os.system}",
    "a resolver's node": "{part: '${oc.create:\"{_target_: os.system}\"}'}",
    "a decoded name": "{part: {_target_: '${oc.decode:os.system}'}}",
    "from the environment": "{part: {_target_: '${oc.env:HOSTILE_TARGET}'}}",
    "an interpolated key holder": "{part: '${oc.dict.values:x}', x: {y: {_target_: os.system}}}",
    "as a literal interpolation": "{part: {_target_: '\\${name}'}, name: os.system}",
    "upper case": "{part: {_target_: OS.system}}",
    "unicode": "{part: {_target_: '\uff4fs.system'}}",
    "spaces": "{part: {_target_: ' os.system'}}",
}


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
    with pytest.raises(ConfigError, match=r"may not be given|only timm's own"):
        instantiate({"net": {"_target_": target, **arguments}})
    partial = instantiate({"net": {"_target_": target, "_partial_": True}})["net"]
    keywords = {name: value for name, value in arguments.items() if name != "_args_"}
    with pytest.raises(ConfigError):
        partial(*arguments.get("_args_", ()), **keywords)


def test_a_timm_model_by_its_own_function(trap):
    with pytest.raises(ConfigError, match="may not be given pretrained_cfg"):
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
    from visionattn.config.composing import source_root

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
