"""Training is what it was: the first 100 losses of the small experiments beside the recorded ones (golden.py)."""

import statistics

import pytest
import torch

from tests.commands.golden import DRAWN, EXPERIMENTS, STEPS, losses, path_of, recorded, release

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def differing(found: list[float], golden: list[float], version: str) -> str:
    """Where the losses are not the recorded ones; empty if they are.

    Other kernels and another number of threads differ by 1e-6 at most over these steps; a learning rate that is 1 %
    higher differs by 8e-4 within ten.
    """
    if release(version) == release(torch.__version__):
        for step, (one, other) in enumerate(zip(found, golden, strict=True)):
            allowed = 1e-5 * 1.047**step
            if not abs(one - other) <= allowed * other:
                return f"step {step}: {one:.6f}, recorded {other:.6f}, allowed is a share of {allowed:.1e}"
        return ""
    for name, part, allowed in (("first", slice(0, 20), 0.1), ("last", slice(-20, None), 0.15)):
        one, other = statistics.mean(found[part]), statistics.mean(golden[part])
        if not abs(one - other) <= allowed * other:
            return f"mean of the {name} 20 steps: {one:.4f}, with another version of torch recorded {other:.4f}"
    return ""


@pytest.mark.parametrize("experiment", [pytest.param(e, marks=[pytest.mark.heavy] * (e in DRAWN)) for e in EXPERIMENTS])
def test_the_losses_are_the_recorded_ones(experiment, tmp_path):
    golden = recorded(experiment)
    assert differing(losses(experiment, tmp_path), golden["losses"], golden["versions"]["torch"]) == ""


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_comparison_can_fail(experiment):
    golden = recorded(experiment)
    same, version = golden["losses"], torch.__version__
    assert len(same) == STEPS
    assert statistics.mean(same[-20:]) < 0.9 * statistics.mean(same[:5]), "something was learned"
    assert differing(same, same, version) == ""
    assert "step 3:" in differing([*same[:3], same[3] * 1.001, *same[4:]], same, version)
    assert "step 99:" in differing([*same[:99], same[99] * 1.1], same, version)
    assert "step 50:" in differing([*same[:50], float("nan"), *same[51:]], same, version)
    assert "another version" in differing([same[0]] * STEPS, same, "1.0")
    assert differing(same, same, "1.0") == ""


def test_every_small_experiment_is_recorded():
    from tests.conf.test_conf import options

    small = [name for name in options("experiment") if name.startswith(("digits/", "shapes/"))]
    assert sorted(small) == sorted(EXPERIMENTS)
    assert all(path_of(name).is_file() for name in small)
