"""L2ViT against the recorded outputs of the official code."""

import pytest

from tests.parity.recordings import check_outputs, check_parameters

PARAMETERS = {
    "l2vit_tiny": 28_596_781,
    "l2vit_small": 50_199_157,
    "l2vit_base": 88_577_188,
    "l2vit_base_384": 88_577_188,  # windows have no position bias
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


def test_the_outputs_of_the_official_code():
    check_outputs("l2vit_tiny", "l2vit_t")
