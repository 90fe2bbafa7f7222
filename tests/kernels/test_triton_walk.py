"""The walking backward of neighborhoods: values in Triton's interpreter, machine code without a device, its plans."""

from dataclasses import replace

import pytest
import torch

from visionattn.kernels.geometry import neighborhood_geometry

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import compile_instead, run_packed
from tests.kernels.triton_interpreting import run_interpreted
from visionattn.kernels.backends.triton.layout import span
from visionattn.kernels.backends.triton.plan import Axis, Plan, candidates, default_plan
from visionattn.kernels.backends.triton.walk_plan import Walk, walk_tile, walks

CASES = ("neighborhood", "half", "no bias", "uneven dilation", "strided")


@pytest.mark.heavy
def test_the_gradients_are_right_and_repeat_their_bits():
    assert run_interpreted(name="triton_walk_cases.py") == {name: [] for name in CASES}


@pytest.mark.heavy
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("length", [56, 14])
def test_walks_compile(monkeypatch, capability, length):
    """No walk needs more than consumer cards have; those of 16 points keep at most 128 bytes of a thread in memory."""
    y = Axis(length, 7, 1, 1, False)
    base = default_plan(y, y, 2, 32, backward=True)
    for queries, keys in zip(walks(y, y, False), walks(y, y, True), strict=False):
        found = compile_instead(monkeypatch, capability)
        plan = replace(base, query_walk=queries, key_walk=keys)
        run_packed(
            neighborhood_geometry(length, length, 7, 1, 1), (64, length, length, 2, 32), torch.bfloat16, plan=plan
        )
        taken = {name: kernel for name, kernel in found.items() if name.startswith("walking")}
        assert set(taken) == {"walking_query_kernel", "walking_key_kernel"}
        assert all(kernel.shared <= 99 * 1024 and kernel.copies > 0 for kernel in taken.values()), taken
        if queries.registers == 128:
            assert all(kernel.stack <= 128 for kernel in taken.values()), taken


def test_a_tile_and_its_partners_fit_the_block():
    for axis in (Axis(56, 7, 1, 1, False), Axis(30, 5, 2, 3, False)):
        for by_keys in (False, True):
            for walk in walks(axis, axis, by_keys):
                assert walk.tile[0] * walk.tile[1] <= walk.block_m
                assert span(axis, walk.tile[0], by_keys) * span(axis, walk.tile[1], by_keys) <= walk.block_n
    wide = Axis(56, 13, 1, 1, False)
    assert walk_tile(wide, wide, 16, 128, False) is None
    assert walks(wide, wide, False) == []


def test_walks_follow_the_default_plans():
    y = Axis(56, 7, 1, 1, False)
    plans = candidates(y, y, 2, 32, 99 * 1024)
    first = next(index for index, plan in enumerate(plans) if plan.query_walk)
    assert first <= 2
    assert isinstance(plans[first].query_walk, Walk)
    assert plans[first] == replace(default_plan(y, y, 2, 32, backward=True), query_walk=plans[first].query_walk)
    assert {(plan.query_walk is None, plan.key_walk is None) for plan in plans} == {
        (True, True),
        (True, False),
        (False, True),
    }
    for others in (candidates(y, y, 4, 32, 99 * 1024), candidates(Axis(56, 7, 0, 1, True), y, 2, 32, 99 * 1024)):
        assert all(isinstance(plan, Plan) and plan.query_walk is plan.key_walk is None for plan in others)
