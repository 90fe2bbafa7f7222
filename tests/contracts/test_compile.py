"""torch.compile without a graph break, with dynamic sizes: one graph class after another, always the eager result."""

import pytest
import torch

from .structures import REPRESENTATIVES, excited, small


@pytest.mark.heavy
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_compiles_whole_with_dynamic_sizes(name):
    torch._dynamo.reset()
    model = excited(small(name)).eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for size in ((64, 80), (50, 77)):
            image = torch.randn(2, 3, *size)
            expected = model(image)
            torch.testing.assert_close(compiled(image), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
