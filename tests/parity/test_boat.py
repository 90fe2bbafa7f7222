"""BOAT against the recorded outputs of the public code, in float64: near ties of its sort are chaotic in float32."""

import pytest
import torch

from tests.recorded import inputs_of, published_state, recorded, relative_error
from visionattn.attention import ContentAttention


@torch.no_grad()
def test_content_attention_of_the_public_code():
    published = recorded("parts/boat_content_attention")
    mixer = ContentAttention(96, 3).double()
    mixer.load_state_dict({key.replace("get_v", "position"): x for key, x in published_state(published).items()})
    for case in published["cases"]:
        assert relative_error(mixer(*(x.double() for x in inputs_of(case))), case) < 1e-10, case["shapes"]


def test_what_cannot_be_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match="overlap from 0 to cluster_size, got 4 and 5"):
        ContentAttention(8, 2, cluster_size=4, overlap=5)
    with pytest.raises(ValueError, match="to cluster_size, got 0 and 0"):
        ContentAttention(8, 2, cluster_size=0, overlap=0)
    with pytest.raises(ValueError, match="dim 8 is not a multiple of num_heads 3"):
        ContentAttention(8, 3)
