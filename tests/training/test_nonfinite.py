"""Decisions before the weights change, in one process. Two processes: tests/commands/test_processes.py."""

import pytest
import torch

from visionattn.errors import ConfigError, NonFiniteLossError
from visionattn.training.nonfinite import StepMonitor, gradient_norm

NAN = float("nan")


def decide(loss=1.0, norm=1.0, prediction=None, policy="stop", **changes):
    monitor = StepMonitor(policy)
    batch = {"image": torch.zeros(3, 3, 4, 4), "id": ["a", "b", "c"]} | changes
    monitor.see(torch.tensor(loss), torch.zeros(3, 5) if prediction is None else prediction, batch, [])
    return monitor.decide(torch.tensor(norm), stop=False)


def test_a_finite_step_passes():
    decision = decide()
    assert not any((decision.skip, decision.stop, decision.incident, decision.unreadable))


def test_a_broken_image_is_named():
    image = torch.zeros(3, 3, 4, 4)
    image[1, 0, 0, 0] = NAN
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan.*: b\."):
        decide(loss=NAN, image=image)


def test_a_broken_prediction_is_named():
    prediction = torch.zeros(3, 5)
    prediction[2] = float("inf")
    with pytest.raises(NonFiniteLossError, match=r"the loss is inf.*: c\."):
        decide(loss=float("inf"), prediction=prediction)


def test_an_image_that_spoils_the_whole_batch_is_named_alone():
    image = torch.zeros(3, 3, 4, 4)
    image[1, 0, 0, 0] = NAN
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan.*: b\."):
        decide(loss=NAN, image=image, prediction=torch.full((3, 5), NAN))


def test_all_are_named_where_none_stands_out():
    with pytest.raises(NonFiniteLossError, match="a, b, c"):
        decide(loss=NAN)


def test_a_gradient_that_is_not_finite_stops_too_though_the_loss_is():
    with pytest.raises(NonFiniteLossError, match=r"the gradient is not finite, though the loss is.*a, b, c"):
        decide(norm=float("inf"))


def test_the_scaler_of_fp16_sees_to_overflows_itself():
    monitor = StepMonitor()
    monitor.see(torch.tensor(1.0), None, {"id": ["a"]}, [])
    assert not monitor.decide(torch.tensor(float("inf")), stop=False, overflow_is_normal=True).skip


def test_skipping_names_the_samples_and_gives_up_after_some_in_a_row():
    monitor = StepMonitor("skip", patience=2)
    for step in range(2):
        monitor.see(torch.tensor(NAN), None, {"id": [f"s{step}"]}, [])
        decision = monitor.decide(None, stop=False)
        assert decision.skip
        assert decision.incident["samples"] == [f"s{step}"]
    monitor.see(torch.tensor(NAN), None, {"id": ["s2"]}, [])
    with pytest.raises(NonFiniteLossError, match="in 3 steps in a row"):
        monitor.decide(None, stop=False)


def test_accumulated_batches_are_judged_together_and_the_bad_one_is_named():
    monitor = StepMonitor("skip")
    for name, loss in (("fine", 1.0), ("bad", NAN), ("good", 2.0)):
        monitor.see(torch.tensor(loss), None, {"id": [name]}, [])
    assert monitor.decide(None, stop=False).incident["samples"] == ["bad"]
    assert not monitor.decide(None, stop=False).skip


def test_stopping_and_unreadable_images_are_handed_on():
    monitor = StepMonitor()
    monitor.see(torch.tensor(1.0), None, {"id": ["a"]}, [("x.jpg", "empty")])
    decision = monitor.decide(None, stop=True)
    assert decision.stop
    assert decision.unreadable == [("x.jpg", "empty")]


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match="stop, skip"):
        StepMonitor("ignore")


def test_gradient_norm_is_that_of_all_gradients_together():
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (3, 4)]
    assert gradient_norm(parameters) is None
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    assert float(gradient_norm(parameters)) == pytest.approx(7**0.5)


def test_overflows_of_fp16_that_never_end_stop_the_run():
    monitor = StepMonitor()

    def step(norm):
        monitor.see(torch.tensor(1.0), None, {"id": ["a"]}, [])
        return monitor.decide(torch.tensor(norm), stop=False, overflow_is_normal=True)

    for norm in [float("inf")] * 40 + [1.0] + [float("inf")] * 40:
        assert not step(norm).skip
    with pytest.raises(NonFiniteLossError, match="in 41 steps in a row"):
        step(float("inf"))


def test_the_first_step_has_other_causes_than_the_rate():
    monitor = StepMonitor()
    monitor.see(torch.tensor(NAN), None, {"id": ["a"]}, [])
    with pytest.raises(NonFiniteLossError, match="first step, so the learning rate is not the cause"):
        monitor.decide(None, stop=False)
    monitor = StepMonitor()
    for loss in (1.0, NAN):
        monitor.see(torch.tensor(loss), None, {"id": ["a"]}, [])
        if loss == 1.0:
            monitor.decide(None, stop=False)
    with pytest.raises(NonFiniteLossError, match="a learning rate that is too high"):
        monitor.decide(None, stop=False)
