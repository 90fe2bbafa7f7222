"""Gates of heads: the published formulas, on any mixer that has heads, and how they train."""

import pytest
import torch
from torch import nn

import visionattn
from tests.contracts.test_mixers import ALL, DIM, build
from visionattn.attention import (
    Alternate,
    ContinuousWindowAttention,
    FullAttention,
    GatedHeads,
    HeadRouter,
    NoMixing,
    Parallel,
    SigmoidGate,
    StageContext,
    WindowAttention,
)
from visionattn.errors import CheckpointError
from visionattn.training.auxiliary import AuxiliaryLosses

HEADS = 4


@pytest.fixture(autouse=True)
def without_graph():
    with torch.no_grad():
        yield


def excited(module):
    for param in module.parameters():
        nn.init.normal_(param, std=0.5)
    return module


def published_gates(router, x):
    """The gates of one token at a time, in the words of the paper."""
    rows = []
    for token in x.flatten(0, 2):
        shared = torch.ones(router.shared)
        if router.shared > 1:
            shared = router.shared * (router.weigh_shared.weight @ token).softmax(0)
        if not router.routed:
            rows.append(shared)
            continue
        scores = (router.score.weight @ token).softmax(0)
        best = scores.argsort(descending=True)[: router.top_k]
        routed = torch.zeros(router.routed)
        routed[best] = router.top_k * scores[best] / scores[best].sum()
        if router.shared:
            first, second = 2 * (router.weigh_groups.weight @ token).softmax(0)
            shared, routed = shared * first, routed * second
        rows.append(torch.cat([shared, routed]))
    return torch.stack(rows).unflatten(0, x.shape[:3])


@pytest.mark.parametrize(("shared", "top_k"), [(1, 2), (2, 1), (0, 3), (4, 0), (0.25, 0.5), (3, 0.5)])
def test_routed_gates_are_the_published_ones(shared, top_k):
    torch.manual_seed(0)
    router = excited(HeadRouter(8, HEADS, shared=shared, top_k=top_k)).eval()
    x = torch.randn(2, 3, 5, 8)
    found = router(x)
    torch.testing.assert_close(found, published_gates(router, x))
    if not router.shared or not router.routed:  # the gates of one group are 1 on average of those that work
        torch.testing.assert_close(found.sum(-1), torch.full((2, 3, 5), float(router.shared + router.top_k)))
    zeros = (found == 0).sum(-1)
    assert bool((zeros == HEADS - router.shared - router.top_k).all())
    assert router.auxiliary_loss() is None  # in evaluation


def test_the_balance_loss_is_the_published_one_and_least_for_an_even_load():
    torch.manual_seed(0)
    router = excited(HeadRouter(8, HEADS, shared=1, top_k=2, balance=0.01)).train()
    x = torch.randn(2, 3, 5, 8)
    with torch.enable_grad():
        router(x)
    scores = (x.flatten(0, 2) @ router.score.weight.T).softmax(-1)
    taken = torch.zeros_like(scores).scatter(1, scores.argsort(dim=1, descending=True)[:, :2], 1.0)
    expected = 0.01 * 9 * sum(scores[:, r].mean() * taken[:, r].mean() for r in range(3)) / 3
    loss = router.auxiliary_loss()
    torch.testing.assert_close(loss.detach(), expected)
    assert router.auxiliary_loss() is None
    loss.backward()
    assert float(router.score.weight.grad.abs().sum()) > 0
    assert float(loss.detach()) > 0.01 * 2  # 2 of 3 heads, evenly


def test_several_routers_count_by_their_mean():
    routers = nn.ModuleList([excited(HeadRouter(8, HEADS, shared=0, top_k=1)) for _ in range(3)]).train()
    losses = []
    for router in routers:
        router(torch.randn(1, 2, 2, 8))
        losses.append(router._loss)
    torch.testing.assert_close(AuxiliaryLosses([routers]).take(), torch.stack(losses).mean())


@pytest.mark.parametrize("predictor", ["slice", "mlp", "all", "none"])
@pytest.mark.parametrize("per_token", [True, False])
def test_sigmoid_gates_are_the_published_ones(predictor, per_token):
    torch.manual_seed(0)
    gate = excited(SigmoidGate(8, HEADS, predictor=predictor, per_token=per_token, start=0.25, rescale=True))
    x = torch.randn(2, 3, 5, 8)
    logits = torch.zeros(2, 3, 5, HEADS)
    for head in range(HEADS):
        part = x[..., 2 * head : 2 * head + 2]
        if predictor == "mlp":
            part = (part @ gate.hidden.weight[head] + gate.hidden.bias[head]).relu()
        if predictor == "all":
            part = x
        logits[..., head] = gate.bias[head] + (part @ gate.weight[head] if predictor != "none" else 0)
    if not per_token:
        logits = logits.mean((1, 2), keepdim=True).expand_as(logits)
    torch.testing.assert_close(gate(x), 4 * logits.sigmoid())


def test_a_gate_starts_where_it_is_told_to():
    gate = SigmoidGate(8, HEADS, start=0.25)
    torch.testing.assert_close(gate(torch.zeros(1, 2, 2, 8)), torch.full((1, 2, 2, HEADS), 0.25))


class Halves(nn.Module):
    """Gates of one half, but for the first head, which is closed."""

    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads

    def forward(self, x):
        gates = x.new_full((*x.shape[:3], self.num_heads), 0.5)
        gates[..., 0] = 0
        return gates


def gated_or_none(name):
    """A mixer with those gates; None where it has no heads to weigh, which has to be said."""
    factory = GatedHeads(lambda **given: build(name, given["index"], given["dim"], given["num_heads"]), Halves)
    if getattr(build(name, 1), "gates_heads", False) and not hasattr(build(name, 1), "gate"):
        return factory(DIM, HEADS, 1)
    with pytest.raises(ValueError, match=r"no heads that gates could weigh|has gates already"):
        factory(DIM, HEADS, 1)
    return None


@pytest.mark.parametrize("name", [name for name in ALL if "/" not in name])
def test_every_mixer_is_gated_or_refuses(name):
    """Gates are not dropped: what a mixer with closed and halved heads gives is linear in them."""
    torch.manual_seed(0)
    mixer = gated_or_none(name)
    if mixer is None:
        return
    excited(mixer).double().eval()
    x = torch.randn(1, 9, 10, DIM, dtype=torch.float64)
    given = {name: mixer(x)}
    mixer._forward_pre_hooks.clear()
    mixer._forward_pre_hooks_with_kwargs.clear()

    def at(value, head=None):
        gates = x.new_full((1, 9, 10, mixer.num_heads), value)
        if head is not None:
            gates[..., head] = 0
        return mixer(x, StageContext(gates=gates))

    torch.testing.assert_close(given[name], at(0.5, 0))
    torch.testing.assert_close(at(1.0), mixer(x))
    closed, opened = at(0.0), at(1.0)
    assert float((closed - opened).abs().max()) > 1e-3
    torch.testing.assert_close(at(0.5), (closed + opened) / 2)
    parts = [opened - at(1.0, head) for head in range(mixer.num_heads)]
    torch.testing.assert_close(sum(parts), opened - closed)  # each head has its own gate
    assert all(float(part.abs().max()) > 1e-4 for part in parts)


def test_gates_belong_to_the_tokens_of_the_map_and_padding_gets_none():
    torch.manual_seed(0)
    mixer = GatedHeads(lambda **given: WindowAttention(**given, window_size=4), HeadRouter)(8, HEADS, 1)
    seen = []
    mixer.gate.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    assert mixer(torch.randn(2, 6, 7, 8)).shape == (2, 6, 7, 8)
    assert seen == [(2, 6, 7, 8)]


def test_what_cannot_be_gated_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="NoMixing has no heads that gates could weigh"):
        GatedHeads(NoMixing, HeadRouter)(8, HEADS)
    with pytest.raises(ValueError, match="ContinuousWindowAttention has carriers"):
        GatedHeads(lambda **given: ContinuousWindowAttention(**given, carriers=2), HeadRouter)(8, HEADS)
    with pytest.raises(ValueError, match="has gates already"):
        GatedHeads(GatedHeads(FullAttention, HeadRouter), HeadRouter)(8, HEADS)
    with pytest.raises(ValueError, match=r"4 heads of which 3 are shared leave 1 to take from, .* to take 2"):
        HeadRouter(8, HEADS, shared=3, top_k=2)
    with pytest.raises(ValueError, match="leave 2 to take from, and a token is to take 0"):
        HeadRouter(8, HEADS, shared=2, top_k=0)
    with pytest.raises(ValueError, match=r"start between 0 and 1, got slice and 1\.0"):
        SigmoidGate(8, HEADS, start=1.0)
    with pytest.raises(ValueError, match="dim 10 is not a multiple of num_heads 4"):
        SigmoidGate(10, HEADS)


def test_combinators_hand_each_branch_the_gates_of_its_heads():
    torch.manual_seed(0)
    both = excited(GatedHeads(Parallel([FullAttention, WindowAttention]), SigmoidGate)(16, HEADS)).double()
    x = torch.randn(1, 3, 4, 16, dtype=torch.float64)
    gates, parts = both.gate(x), x.chunk(2, -1)
    alone = [
        branch(part, StageContext(gates=own))
        for branch, part, own in zip(both.branches, parts, gates.chunk(2, -1), strict=True)
    ]
    torch.testing.assert_close(both(x), torch.cat(alone, -1))
    turns = GatedHeads(Alternate([FullAttention, WindowAttention]), SigmoidGate)
    assert [type(turns(16, HEADS, index)).__name__ for index in (0, 1)] == ["FullAttention", "WindowAttention"]


def test_published_weights_load_and_the_gates_start_fresh():
    plain = visionattn.create_backbone("swin_pico", num_classes=3)
    overrides = ["mixer@mixers.s2=mixture_of_heads", "mixer@mixers.s2.mixer=swin/4"]
    model = visionattn.create_backbone("swin_pico", num_classes=3, overrides=overrides)
    before = {name: value.clone() for name, value in model.state_dict().items() if ".gate." in name}
    assert before
    report = visionattn.load_weights(model, plain.state_dict())
    assert report.fresh == list(before)
    assert set(report.taken) == set(plain.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before.get(name, plain.state_dict().get(name)))
    visionattn.load_weights(model, model.state_dict())
    partial = {name: value for name, value in model.state_dict().items() if not name.endswith("score.weight")}
    with pytest.raises(CheckpointError, match=r"missing: stages\.1\.blocks\.0\.mixer\.gate\.score\.weight"):
        visionattn.load_weights(model, partial)
