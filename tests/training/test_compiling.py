"""``task.compile``: how many graphs a run needs, what they compute, what is said of them, and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from tests.training.tiny_run import SGD, Backbone, Data, Head, Score, Task, tiny_task, tiny_trainer
from visionattn.errors import ConfigError
from visionattn.training import FullySharded, WeightEMA, compiling
from visionattn.training.checkpoints import LastCheckpoint
from visionattn.training.compiling import SHAPES, Compiling, FixedRegion
from visionattn.training.options import TrainingOptions
from visionattn.training.progress import StepSeeds

pytestmark = pytest.mark.filterwarnings("default")
RUN = {"max_epochs": 3, "num_sanity_val_steps": 1}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Graphs are made and counted, and run without inductor."""
    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")


def fit(folder, *callbacks, data=None, ckpt_path=None, task=None, run=RUN, **options):
    task = task or tiny_task(**options)
    tiny_trainer(folder, *callbacks, **run).fit(task, datamodule=data or Data(), ckpt_path=ckpt_path)
    return task


def same(one, other, **tolerance):
    assert one.state_dict().keys() == other.state_dict().keys()
    torch.testing.assert_close(dict(one.state_dict()), dict(other.state_dict()), **tolerance)


def test_two_graphs_serve_a_whole_run_with_averaged_weights(tmp_path):
    data = Data(count=8, batch_size=3)  # a smaller last batch in validation; training has none, as in real runs
    data.train_dataloader = lambda: data._loader(data.images[:6])
    task = fit(tmp_path, WeightEMA(decay=0.5), data=data, compile=True)
    assert task.compiling.facts() == {
        "mode": "default",
        "regions": ["backbone and head as one graph"],
        "graphs": 2,
        "graph_breaks": [],
    }
    assert task.compiling.outcome() == "2 graphs, no graph break"
    assert (task.compiling.news(), task.compiling.news()) == ("2 graphs, no graph break", "")
    plain = fit(tmp_path, WeightEMA(decay=0.5), data=data)
    same(task, plain)


def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(tmp_path):
    whole = fit(tmp_path, compile=True)
    fit(tmp_path, LastCheckpoint(tmp_path / "c"), compile=True, run=RUN | {"max_epochs": 1})
    resumed = fit(tmp_path, compile=True, ckpt_path=tmp_path / "c" / "last.ckpt")
    same(resumed, whole, rtol=0, atol=0)
    assert not any("_orig_mod" in name for name in torch.load(tmp_path / "c" / "last.ckpt")["state_dict"])


def test_batches_are_filled_up_and_other_sizes_are_few():
    calls = []

    def double(images):
        calls.append(tuple(images.shape))
        return 2 * images, None

    region = FixedRegion(lambda images: (2 * images, "uncompiled"), double, cuda_graphs=True, evaluation=True)
    for count in (4, 3, 4, 1):
        images = torch.randn(count, 2)
        found, other = region(images, training=False)
        assert torch.equal(found, 2 * images)
        assert other is None
    assert calls == [(4, 2)] * 4
    assert [region(torch.randn(1, size), False)[1] for size in range(10, 10 + SHAPES)] == [None] * 3 + ["uncompiled"]
    assert [region(torch.randn(size, 2), True)[1] for size in (2, 3, 4, 5, 6)] == [None] * SHAPES + ["uncompiled"]
    alone = FixedRegion(lambda images: "uncompiled", double, cuda_graphs=False, evaluation=False)
    assert alone(torch.randn(2, 2), training=False) == "uncompiled"


class OfManySizes(Task):
    """A task whose images have sizes of their own."""

    sizes_vary = True


class Blocks(nn.Module):
    """A backbone of two blocks on images of any number of tokens."""

    feature_info = Backbone.feature_info

    def __init__(self):
        super().__init__()
        blocks = [nn.Sequential(nn.Linear(4, 4), nn.GELU()), nn.Sequential(nn.Linear(4, 4), nn.Tanh())]
        self.stages = nn.ModuleList([nn.Module()])
        self.stages[0].blocks = nn.ModuleList(blocks)

    def forward_intermediates(self, x, **kwargs):
        for block in self.stages[0].blocks:
            x = block(x)
        return [x]


@pytest.mark.parametrize("backbone", [Blocks, Backbone])
def test_where_sizes_vary_one_graph_of_a_module_serves_all(backbone, tmp_path):
    def build(**options):
        torch.manual_seed(0)
        return OfManySizes(backbone(), Head, None, SGD, evaluators={"score": Score()}, monitor="val/score", **options)

    data = Data()
    sizes = [torch.randn(2, count, 4, generator=torch.Generator().manual_seed(count)) for count in (3, 5, 7, 4, 6)]
    batches = DataLoader([{"image": images, "id": ["a", "b"]} for images in sizes], batch_size=None)
    data.train_dataloader = data.val_dataloader = lambda: batches
    task, plain = (fit(tmp_path, data=data, task=build(compile=compile)) for compile in (True, False))
    modules = 2 if backbone is Blocks else 1
    assert task.compiling.facts()["graphs"] == 2 * modules  # training and evaluation
    assert task.compiling.regions == ["backbone" if modules == 1 else "2 blocks of the backbone"]
    same(task, plain)


def test_a_graph_break_is_counted_and_named(tmp_path, monkeypatch):
    def broken(self, x, **kwargs):
        torch._dynamo.graph_break()
        return [self.layer(x)]

    monkeypatch.setattr(Backbone, "forward_intermediates", broken)
    task = fit(tmp_path, compile=True)
    assert task.compiling.outcome().startswith("4 graphs, which break: Call to `torch._dynamo.graph_break()`")


def test_a_compiler_that_fails_ends_the_run_with_one_sentence(tmp_path, monkeypatch):
    def fails(graph, inputs):
        raise RuntimeError("the linker is on strike")

    monkeypatch.setattr(compiling, "BACKEND", fails)
    with pytest.raises(ConfigError, match=r"^torch.compile failed: .*linker is on strike.* task\.compile=false trains"):
        fit(tmp_path, compile=True)


class Sharded(FullySharded):
    """A strategy on a GPU that is not there."""

    root_device = torch.device("cuda")


def trainer(device="cuda", accumulate=1, strategy=None):
    strategy = strategy or SimpleNamespace(root_device=torch.device(device))
    return SimpleNamespace(strategy=strategy, accumulate_grad_batches=accumulate)


@pytest.mark.parametrize(
    ("mode", "given", "message"),
    [
        ("reduce-overhead", trainer("cpu"), "uses CUDA graphs, but this run is on the device cpu: task.compile=true"),
        ("max-autotune", trainer("mps"), "this run is on the device mps"),
        ("reduce-overhead", trainer(accumulate=2), "trainer.accumulate_grad_batches=2 steps outlive"),
        ("reduce-overhead", trainer(strategy=Sharded()), "trainer=fsdp moves the weights"),
    ],
)
def test_cuda_graphs_are_refused_where_they_cannot_work(mode, given, message):
    with pytest.raises(ConfigError, match=message):
        Compiling(TrainingOptions(compile=mode), sizes_vary=False, owner="Task").check(given)


def test_cuda_graphs_are_refused_for_images_of_many_sizes():
    options = TrainingOptions(compile="reduce-overhead")
    with pytest.raises(ConfigError, match=r"need images of one size, and Task takes images of many sizes"):
        Compiling(options, sizes_vary=True, owner="Task")


def test_a_missing_compiler_is_told_before_the_run(monkeypatch):
    check = Compiling(TrainingOptions(compile=True), sizes_vary=False, owner="Task").check
    from torch._inductor import config as settings

    check(trainer("cpu"))
    told = r"^task\.compile=default needs a compiler: .*; task\.compile=false trains"
    with settings.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(ConfigError, match=told):
        check(trainer("cpu"))
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    with pytest.raises(ConfigError, match="Triton is not installed"):
        check(trainer("cuda"))
    Compiling(TrainingOptions(), sizes_vary=True, owner="Task").check(trainer("cpu"))  # nothing is compiled


class Dropped(nn.Module):
    """A block with dropout."""

    def __init__(self):
        super().__init__()
        self.layer, self.dropout = nn.Linear(4, 4), nn.Dropout(0.3)

    def forward(self, x):
        return x + self.dropout(self.layer(x).tanh())


class Checkpointed(Backbone):
    """Two blocks with dropout, and with gradient checkpointing where it is asked for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(Dropped(), Dropped())
        self.checkpointing = False

    def set_grad_checkpointing(self, enable=True):
        self.checkpointing = enable

    def forward_intermediates(self, x, **kwargs):
        for block in self.layer:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointing and self.training else block(x)
        return [x]


def with_dropout(folder, *callbacks, ckpt_path=None, epochs=3, **options):
    torch.manual_seed(0)
    score = {"evaluators": {"score": Score()}, "monitor": "val/score"}
    task = Task(Checkpointed(), Head, None, SGD, **score, **options)
    return fit(folder, StepSeeds(0), *callbacks, task=task, run=RUN | {"max_epochs": epochs}, ckpt_path=ckpt_path)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_draws_the_same_numbers_with_and_without(checkpointing, tmp_path):
    task, plain = (
        with_dropout(tmp_path, compile=compile, grad_checkpointing=checkpointing) for compile in (True, False)
    )
    assert task.compiling.facts()["graphs"] == 2
    same(task, plain)


@pytest.mark.heavy
@pytest.mark.parametrize("checkpointing", [False, True])
def test_inductor_draws_the_same_numbers_and_resumes_to_the_bit(checkpointing, tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    options = {"compile": True, "grad_checkpointing": checkpointing}
    whole = with_dropout(tmp_path, WeightEMA(decay=0.5), **options)
    assert whole.compiling.outcome() == "2 graphs, no graph break"
    same(whole, with_dropout(tmp_path, WeightEMA(decay=0.5), grad_checkpointing=checkpointing))
    with_dropout(tmp_path, WeightEMA(decay=0.5), LastCheckpoint(tmp_path / "c"), epochs=1, **options)
    resumed = with_dropout(tmp_path, WeightEMA(decay=0.5), ckpt_path=tmp_path / "c" / "last.ckpt", **options)
    same(resumed, whole, rtol=0, atol=0)
