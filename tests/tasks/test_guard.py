"""Stopping before the weights change, in one process. Two processes: tests/commands/test_processes.py."""

import pytest
import torch

from visionattn.errors import NonFiniteLossError, UnreadableImagesError
from visionattn.tasks.guard import stop_together


def batch(**changes):
    return {"image": torch.zeros(3, 3, 4, 4), "id": ["a", "b", "c"]} | changes


def test_a_finite_loss_passes():
    stop_together(torch.tensor(1.0), torch.zeros(3, 5), batch())


def test_a_broken_image_is_named():
    image = torch.zeros(3, 3, 4, 4)
    image[1, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan.*: b\."):
        stop_together(torch.tensor(float("nan")), torch.zeros(3, 5), batch(image=image))


def test_a_broken_prediction_is_named():
    prediction = torch.zeros(3, 5)
    prediction[2] = float("inf")
    with pytest.raises(NonFiniteLossError, match=r"the loss is inf.*: c\."):
        stop_together(torch.tensor(float("inf")), prediction, batch())


def test_all_are_named_where_none_stands_out():
    with pytest.raises(NonFiniteLossError, match="a, b, c"):
        stop_together(torch.tensor(float("nan")), torch.zeros(3, 5), batch())


def test_another_error_is_passed_on():
    with pytest.raises(UnreadableImagesError, match="too many"):
        stop_together(torch.tensor(1.0), None, batch(), UnreadableImagesError("too many"))
