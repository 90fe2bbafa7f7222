"""Training steps of every structure on a device in bf16, eager and compiled, and what they keep in memory."""

import pytest
import timm
import torch
from torch import nn

from tests.contracts.structures import small
from visionattn.backbones import zoo
from visionattn.benchmarks.backbones import with_counterpart
from visionattn.benchmarks.timing import peak_bytes


def families() -> list[str]:
    """The smallest backbone of each family, by the first word of its name."""
    chosen: dict[str, str] = {}
    for name, contents in zoo.backbone_files().items():
        family = name.split("_")[0]
        smallest = chosen.get(family)
        if smallest is None or contents["card"]["params"] < zoo.backbone_files()[smallest]["card"]["params"]:
            chosen[family] = name
    return sorted(chosen.values())


def loss_of(model, images, target):
    with torch.autocast(images.device.type, torch.bfloat16):
        logits = model(images)
    return nn.functional.cross_entropy(logits.float(), target)


def check_step(model, run, images, target, expected):
    """One AdamW step of `run`, a form of `model`: the loss of float32, a finite gradient for each, other weights."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    loss = loss_of(run, images, target)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=0.05)
    for name, param in model.named_parameters():
        assert param.grad is not None, name
        assert torch.isfinite(param.grad).all(), name
    before = [param.detach().clone() for param in model.parameters()]
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", families())
def test_one_step(name, device):
    """The step of the whole model, judged by its loss on the CPU in float32."""
    model = timm.create_model(f"va_{name}", num_classes=10).eval()
    images, target = torch.randn(4, 3, 96, 96), torch.tensor([1, 2, 3, 4])
    expected = nn.functional.cross_entropy(model(images), target).item()
    model.to(device)
    check_step(model, model, images.to(device), target.to(device), expected)


COMPILED = ("swin_pico", "dinat_pico", "cswin_tiny", "maxvit_tiny", "fastervit_0", "agent_swin_tiny")
"""Each operator and kind of layer once: Inductor takes a minute for one, and a card is lent for minutes. The graphs of
all structures are traced on the CPU, by the contract tests."""


@pytest.mark.parametrize("name", COMPILED)
def test_one_step_compiled(name, device, compiled):
    """The step of a shallow model as one graph, and a second step without compiling again."""
    model = small(name).eval()
    images, target = torch.randn(4, 3, 96, 96), torch.tensor([1, 2, 3, 4])
    expected = nn.functional.cross_entropy(model(images), target).item()
    model.to(device)
    run, images, target = compiled(model), images.to(device), target.to(device)
    check_step(model, run, images, target, expected)
    with torch.compiler.set_stance("fail_on_recompile"):
        loss = loss_of(run, images, target)
    assert torch.isfinite(loss)


def test_one_step_compiled_in_training_mode(device, compiled):
    """With stochastic depth and dropout, as a training runs it."""
    model = small("swin_pico", drop_path_rate=0.2).to(device).train()
    images, target = torch.randn(8, 3, 64, 64, device=device), torch.arange(8, device=device) % 5
    run = compiled(model)
    for _ in range(2):
        loss = loss_of(run, images, target)
        loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(param.grad).all() for param in model.parameters())


@pytest.mark.parametrize("name", ["swin_tiny"])
def test_peak_memory_of_a_step_is_at_most_that_of_timm(name, device):
    """What attention keeps for its backward are maps, not matrices of pairs."""
    images, target = torch.randn(2, 3, 224, 224, device=device), torch.tensor([0, 1], device=device)
    peaks = {}
    for owner, model in with_counterpart(name, 224).items():
        model.to(device).train()

        def step(model=model):
            loss_of(model, images, target).backward()
            model.zero_grad()

        step()
        peaks[owner] = peak_bytes(step, device)
    assert peaks["visionattn"] <= peaks["timm"], peaks
