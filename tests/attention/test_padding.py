"""Padding and position tables."""

import torch

from visionattn.attention.padding import at_least, exceeds, fit, pad_image, round_up
from visionattn.kernels.geometry import as_pair, certainly


def test_pair():
    assert as_pair("window", 7) == (7, 7)
    assert as_pair("window", [3, 5]) == (3, 5)


def test_fit_enlarges_with_zeros_and_cuts_at_bottom_and_right():
    x = torch.ones(1, 2, 3, 4)
    y = fit(x, (4, 3))
    assert y.shape == (1, 4, 3, 4)
    assert torch.equal(y[:, :2], x)
    assert y[:, 2:].abs().sum() == 0
    assert torch.equal(fit(y, (2, 3)), x)
    assert fit(x, (2, 3)) is x


def test_pad_image():
    x = torch.ones(1, 3, 5, 8)
    assert pad_image(x, 4).shape == (1, 3, 8, 8)
    assert torch.equal(pad_image(x, 4)[:, :, :5], x)
    assert pad_image(x, 1) is x


def test_round_up():
    assert [round_up(n, 7) for n in (1, 7, 8)] == [7, 7, 14]


def test_exceeds_calculates_what_a_comparison_says():
    assert [exceeds(size, 7) for size in (1, 7, 8, 100)] == [0, 0, 1, 1]


def test_plain_numbers_need_no_symbolic_function(monkeypatch):
    """torch 2.11 cannot compile ``torch.sym_max`` of two numbers."""

    def refuse(*args):
        raise AssertionError("a symbolic function was called with plain numbers")

    monkeypatch.setattr(torch, "sym_max", refuse)
    monkeypatch.setattr(torch, "sym_min", refuse)
    assert [at_least(size, 4) for size in (1, 4, 9)] == [4, 4, 9]
    assert [exceeds(size, 4) for size in (1, 4, 9)] == [0, 0, 1]


def test_of_a_symbol_only_what_every_value_fulfils_is_certain():
    def answers(x):
        size = x.shape[0]
        return certainly(size == 8), certainly(round_up(size, 4) % 4 == 0), certainly(exceeds(size, 3) < 2)

    assert answers(torch.ones(8)) == (True, True, True)
    compiled = torch.compile(answers, fullgraph=True, backend="eager", dynamic=True)
    assert compiled(torch.ones(8)) == (False, True, True)
