"""The loss that never holds the logits at the labels' size: the same sum and gradient as torch's two steps."""

import pytest
import torch
from torch.nn import functional as F

from visionattn.heads.segmentation import pixel_loss
from visionattn.heads.segmentation.pixel_loss import resized_cross_entropy

IGNORE = 255


def plain(logits, target, weight):
    resized = F.interpolate(logits, size=target.shape[-2:], mode="bilinear")
    return F.cross_entropy(resized, target, weight, ignore_index=IGNORE, reduction="sum")


def case(size=(5, 7), large=(19, 25), classes=4, dtype=torch.float64):
    torch.manual_seed(0)
    target = torch.randint(0, classes, (3, *large))
    target[0, :6], target[2] = IGNORE, IGNORE
    return torch.randn(3, classes, *size, dtype=dtype, requires_grad=True), target


@pytest.mark.parametrize("chunk", [1, 300, 2**18])
@pytest.mark.parametrize("large", [(19, 25), (5, 7), (3, 4)])
@pytest.mark.parametrize("weight", [None, [1.0, 0.5, 0.0, 3.0]])
def test_the_sum_and_its_gradient_are_those_of_torch(monkeypatch, chunk, large, weight):
    """In pieces of a row, of some rows and of whole pictures; to larger, equal and smaller labels."""
    monkeypatch.setitem(pixel_loss._CHUNK, "cpu", chunk)
    logits, target = case(large=large)
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    expected = plain(logits, target, weight)
    (wanted,) = torch.autograd.grad(expected * 0.3, logits)
    found = resized_cross_entropy(logits, target, weight, ignore=IGNORE)
    (gradient,) = torch.autograd.grad(found * 0.3, logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)


def test_half_precision_is_worked_through_in_float32():
    logits, target = case(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = resized_cross_entropy(logits, target, ignore=IGNORE)
    found.backward()
    assert found.dtype == torch.float32
    assert logits.grad.dtype == torch.bfloat16
    exact = logits.detach().double().requires_grad_()
    expected = plain(exact, target, None)
    expected.backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize(("small", "large", "rows"), [(128, 512, 3), (32, 512, 3), (7, 19, 1), (19, 7, 2), (4, 4, 4)])
def test_a_band_looks_at_its_neighbors_alone(small, large, rows):
    """All rows of the labels are in one band; what a band needs of the logits does not grow with the picture."""
    bands = pixel_loss._bands(small, large, rows)
    assert [row for band, _ in bands for row in range(*band.indices(large))] == list(range(large))
    across = pixel_loss._matrix(small, large, torch.empty(0))
    for band, seen in bands:
        assert across[band, seen].sum(1).allclose(torch.ones(len(across[band])))  # nothing is left out
        assert seen.stop - seen.start <= rows * max(small / large, 1) + 3


def test_what_is_kept_has_the_size_of_the_logits():
    logits, target = case(size=(4, 4), large=(64, 64))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        resized_cross_entropy(logits, target, ignore=IGNORE)
    assert sum(kept) == logits.numel()


def test_without_a_gradient_and_without_labels():
    logits, target = case()
    assert not resized_cross_entropy(logits.detach(), target, ignore=IGNORE).requires_grad
    nothing = resized_cross_entropy(logits, torch.full_like(target, IGNORE), ignore=IGNORE)
    nothing.backward()
    assert nothing == 0
    assert not logits.grad.any()


def test_other_batches_are_refused():
    logits, target = case()
    with pytest.raises(ValueError, match="3 images do not match labels of 2"):
        resized_cross_entropy(logits, target[:2], ignore=IGNORE)
