"""The moving average of the weights."""

import pytest
import torch

from visionattn.training.ema import WeightEMA


def test_moves_by_one_minus_the_decay():
    ema = WeightEMA(decay=0.9)
    ema.should_update(step_idx=10_000)
    averaged = [torch.zeros(3), torch.zeros(2)]
    ema._average(averaged, [torch.ones(3), torch.full((2,), 2.0)], 1)
    torch.testing.assert_close(averaged[0], torch.full((3,), 0.1))
    torch.testing.assert_close(averaged[1], torch.full((2,), 0.2))


def test_forgets_the_start_early_on():
    ema = WeightEMA(decay=0.9999)
    averaged, current = [torch.zeros(1)], [torch.ones(1)]
    for step in range(20):
        assert ema.should_update(step_idx=step)
        ema._average(averaged, current, step)
    assert averaged[0] > 0.99
    assert not ema.should_update(epoch_idx=1)


def test_counters_are_copied_not_averaged():
    averaged = [torch.tensor(3)]
    WeightEMA(0.5)._average(averaged, [torch.tensor(8)], 1)
    assert averaged[0] == 8


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(ValueError, match="must be in"):
        WeightEMA(decay)
