"""Padding and position tables."""

import torch

from visionattn.attention.geometry import crop_table, pad_to, pair, position_table, round_up


def test_pair():
    assert pair(7) == (7, 7)
    assert pair([3, 5]) == (3, 5)


def test_pad_to_enlarges_bottom_and_right_with_zeros():
    x = torch.ones(1, 2, 3, 4)
    y = pad_to(x, (4, 3))
    assert y.shape == (1, 4, 3, 4)
    assert torch.equal(y[:, :2], x)
    assert y[:, 2:].abs().sum() == 0
    assert pad_to(x, (1, 1)) is x


def test_round_up():
    assert [round_up(n, 7) for n in (1, 7, 8)] == [7, 7, 14]


def test_crop_table_keeps_the_offsets_that_still_occur():
    table = position_table(2, (7, 5))
    assert table.shape == (2, 13, 9)
    small = crop_table(table, (3, 5))
    assert torch.equal(small, table[:, 4:9])
    assert torch.equal(small[:, 2, 4], table[:, 6, 4])  # the entry for "no offset"
    assert crop_table(table, (7, 5)) is table
