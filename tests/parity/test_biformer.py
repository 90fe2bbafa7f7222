"""BiFormer against the recorded outputs of the official code."""

import pytest

from tests.parity.recordings import check_outputs, check_parameters

PARAMETERS = {
    "biformer_tiny": 13_142_760,
    "biformer_small": 25_536_232,
    "biformer_base": 56_804_968,
    "biformer_stl": 28_372_552,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


@pytest.mark.parametrize("name", ["biformer_tiny", pytest.param("biformer_stl", marks=pytest.mark.heavy)])
def test_the_outputs_of_the_official_code(name):
    check_outputs(name)
