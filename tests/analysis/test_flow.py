"""Rollout and relevance: equal to products of dense matrices, and they keep what they share."""

from functools import partial

import pytest
import torch

import visionattn
from tests.analysis.test_maps import MIXERS, WITHOUT, backbone
from visionattn import analysis
from visionattn.analysis.relevances import backward, relevance_of, score_of
from visionattn.attention import NeighborhoodAttention, WindowAttention
from visionattn.tasks.inspection import above_mean


def dense_of(call):
    return call.rows(torch.arange(call.num_queries)).dense(call.num_keys)[0]


def merging(rows, columns):
    """From the (rows, columns) tokens of a stage to twice as many of the one before."""
    fine = torch.zeros(rows, columns, 2 * rows, 2 * columns, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            fine[i, j, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 0.25
    return fine.view(rows * columns, -1)


@pytest.mark.parametrize("name", ["window", "neighborhood", "grid", "full"])
def test_rollout_is_the_product_of_dense_matrices(name):
    model = backbone(MIXERS[name])
    image = torch.randn(3, 64, 64, dtype=torch.float64)
    kept = analysis.record(model, image)
    flow = analysis.rollout(model, image, [(0.1, 0.6)])
    total = torch.eye(64, dtype=torch.float64)
    for stage in reversed(kept.stages):
        for block in reversed(stage.blocks):
            matrix = dense_of(block.parts[0].matrices[0]).mean(0)
            total = total @ (matrix + torch.eye(len(matrix))) / 2
        if stage.index:
            total = total @ merging(8, 8)
    torch.testing.assert_close(flow.values[0], total[4].view(16, 16))
    whole = analysis.rollout(model, image)
    assert whole.points == (None,)
    torch.testing.assert_close(whole.values[0], total.mean(0).view(16, 16))


@pytest.mark.parametrize("name", [*MIXERS, *WITHOUT])
@pytest.mark.parametrize("size", [(36, 28)])
def test_shares_sum_to_one_for_every_mixer_and_size(name, size):
    model = backbone((MIXERS | WITHOUT)[name])
    image = torch.randn(3, *size, dtype=torch.float64)
    flow = analysis.rollout(model, image, [(0.0, 0.0), (1.0, 1.0)])
    assert flow.values.shape == (2, 9, 7)
    assert flow.stride == 4
    torch.testing.assert_close(flow.values.sum((1, 2)), torch.ones(2, dtype=torch.float64))
    assert bool(flow.passed_over) == (name in WITHOUT)
    found = analysis.relevance(model, image)
    assert found.values.min() >= 0
    torch.testing.assert_close(found.values.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_rollout_begins_at_the_stage_that_is_asked_for():
    model = backbone(partial(WindowAttention, window_size=2))
    image = torch.randn(3, 32, 32, dtype=torch.float64)
    flow = analysis.rollout(model, image, (0.1, 0.1), stage="s1")
    assert (flow.values[0] > 0).nonzero().amax(0).tolist() == [1, 1]
    with pytest.raises(ValueError, match="no stage s3"):
        analysis.rollout(model, image, stage="s3")


def test_relevance_is_the_product_of_dense_gradients():
    model = backbone(partial(NeighborhoodAttention, kernel_size=3))
    image = torch.randn(3, 32, 32, dtype=torch.float64)
    done = backward(model, image, score_of(model, image, 3, (0.5, 0.5)))
    features = done.kept.features[-1]
    vector = (done.direct[1] * features).sum(1).clamp(min=0).flatten()
    for stage in reversed(done.kept.stages):
        for block in reversed(stage.blocks):
            call = block.parts[0].matrices[0]
            grad = done.gradients[id(call)].flatten(1, 2)
            of_weights = torch.einsum("bqne,bkne->nqk", grad, call.v.flatten(1, 2))
            matrix = (of_weights * dense_of(call)).clamp(min=0).mean(0)
            vector = vector + vector @ matrix / matrix.sum(-1).max()
        if stage.index:
            vector = vector @ merging(4, 4)
    expected = (vector / vector.sum()).view(1, 8, 8)
    torch.testing.assert_close(relevance_of(done).values, expected)
    assert "class 3" in done.scored.about


def test_the_gradient_of_each_call_is_that_of_the_score():
    model = backbone(partial(WindowAttention, window_size=4))
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    done = backward(model, image, score_of(model, image, 1, (0.5, 0.5)))
    with analysis.recording(model) as kept:
        logits = model(image)[0]
        logit = logits[1] - logits.mean()
    for (_, _, one), (_, _, two) in zip(done.kept.parts(), kept.parts(), strict=True):
        (expected,) = torch.autograd.grad(logit, two.matrices[0].out, retain_graph=True)
        torch.testing.assert_close(done.gradients[id(one.matrices[0])], expected)


def test_importance_is_the_derivative_of_a_factor_on_a_head():
    model = backbone(partial(WindowAttention, window_size=4), dims=(16,))
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    found = analysis.head_statistics(model, image, 2)
    assert [(one.block, one.head) for one in found] == [(b, h) for b in range(2) for h in range(4)]
    masks = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    for block, mask in zip(model.stages[0].blocks, masks, strict=True):
        attend = block.mixer.attend
        block.mixer.attend = lambda qkv, attend=attend, mask=mask: attend(qkv) * mask[:, None]
    (expected,) = torch.autograd.grad(above_mean(model(image)[0])[2], masks)
    importance = torch.tensor([one.importance for one in found], dtype=torch.float64)
    torch.testing.assert_close(importance, expected.abs().flatten())


def test_figures_of_even_attention():
    model = backbone(partial(WindowAttention, window_size=4, bias=False), dims=(16,))
    for block in model.stages[0].blocks:
        torch.nn.init.zeros_(block.mixer.qkv.weight[:32])
    model.reset_classifier(0)
    found = analysis.head_statistics(model, torch.randn(3, 32, 28).double(), blocks=0, heads=[1])
    (head,) = found
    assert head.importance is None
    assert (head.keys, head.head) == (16, 1)
    assert head.padding == pytest.approx(4 / 7 * 0 + 3 / 7 * 1 / 4)  # of seven columns the last three have a fourth
    assert 4 < head.distance < 12


@pytest.mark.parametrize("classes", [0, 5])
def test_relevance_needs_a_prediction(classes):
    model = visionattn.create_backbone("swin_pico", num_classes=classes)
    image = torch.randn(3, 32, 32)
    if classes:
        assert analysis.relevance(model, image, 4).values.shape == (1, 8, 8)
        with pytest.raises(visionattn.errors.ConfigError, match="target=7 is no class of the model"):
            analysis.relevance(model, image, 7)
    else:
        with pytest.raises(ValueError, match="relevance needs a prediction"):
            analysis.relevance(model, image)
        assert analysis.head_statistics(model, image)[0].importance is None


def test_tables_are_those_of_the_blocks():
    model = visionattn.create_backbone("swin_pico", num_classes=0)
    tables = analysis.bias_tables(model, torch.randn(3, 32, 32))
    assert [(table.stage, table.block, table.values.shape[0]) for table in tables][:3] == [
        ("s1", 0, 2), ("s1", 1, 2), ("s2", 0, 4)]  # fmt: skip
    assert torch.equal(tables[1].values, model.stages[0].blocks[1].mixer.bias_table)
    continuous = backbone(MIXERS["carriers"], dims=(16,))
    assert {tuple(t.values.shape) for t in analysis.bias_tables(continuous, torch.randn(3, 32, 32).double())} == {
        (4, 7, 7)}  # fmt: skip
