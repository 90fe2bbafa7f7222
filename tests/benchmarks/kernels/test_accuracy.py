"""The judge of errors must pass what is right and fail what is wrong."""

import torch

from visionattn.benchmarks.kernels import compare
from visionattn.kernels import window_attention
from visionattn.kernels.backends import reference


def call(window=3, bias=True):
    q, k, v = torch.randn(3, 1, 6, 6, 2, 16).unbind(0)
    size = 2 * window - 1
    return window_attention.prepare(q, k, v, window=window, bias=torch.randn(2, size, size) if bias else None)


def test_passes_the_reference_itself():
    errors = compare(call(), reference.attend)
    assert list(errors) == ["out", "q", "k", "v", "bias"]
    assert all(error.is_fine and error.backend == error.plain for error in errors.values())


def test_fails_a_wrong_scale_and_names_what_is_wrong():
    errors = compare(
        call(), lambda q, k, v, bias, geometry, scale: reference.attend(q, k, v, bias, geometry, scale * 1.001)
    )
    assert not errors["out"].is_fine
    assert not errors["q"].is_fine


def test_fails_a_wrong_gradient_alone():
    def detached(q, k, v, bias, geometry, scale):
        return (
            reference.attend(q, k, v * 2, bias, geometry, scale)
            - reference.attend(q, k, v, bias, geometry, scale).detach()
        )

    errors = compare(call(), detached)
    assert errors["out"].backend < 1e-5
    assert not errors["v"].is_fine


def test_fails_a_result_that_is_not_a_number():
    errors = compare(call(), lambda q, k, v, *rest: reference.attend(q, k, v, *rest) * float("nan"))
    assert not errors["out"].is_fine


def test_a_gradient_that_vanishes_may_be_rounded():
    def rounded(q, k, v, bias, geometry, scale):
        return reference.attend(q, k, v, bias, geometry, scale) + 1e-7 * (q - q.detach())

    errors = compare(call(window=1), rounded)
    assert errors["q"].plain == 0
    assert errors["q"].is_fine


def test_without_gradients_only_the_output():
    assert list(compare(call(bias=False), reference.attend, gradients=False)) == ["out"]
