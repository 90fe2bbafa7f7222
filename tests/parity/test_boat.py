"""BOAT against the recorded outputs of the public code, in float64: near ties of its sort are chaotic in float32."""

import pytest
import torch
from torch import nn

import visionattn
from tests.parity.recordings import check_parameters
from tests.parity.timm_pairs import count, meta
from tests.recorded import image_of, inputs_of, published_state, recorded, relative_error
from visionattn.attention import ContentAttention
from visionattn.weights.formats import convert

PARAMETERS = {
    "boat_swin_tiny": 30_265_186,
    "boat_swin_small": 55_158_898,
    "boat_swin_base": 97_612_960,
    "boat_cswin_tiny": 26_390_952,
    "boat_cswin_small": 40_112_488,
    "boat_cswin_base": 89_628_712,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


@pytest.mark.parametrize("name", ["boat_swin_tiny", "boat_cswin_tiny"])
def test_every_weight_of_the_public_code_has_its_place(name):
    wanted = meta(visionattn.create_backbone, name).state_dict()
    state = {key: torch.empty(shape, device="meta") for key, shape, _ in recorded(name)["state"]}
    found = convert(state, wanted)
    assert found.title == ("BOAT-Swin" if "cswin" not in name else "BOAT-CSWin")
    assert {key: x.shape for key, x in found.state.items()} == {key: x.shape for key, x in wanted.items()}


@pytest.mark.heavy
@torch.no_grad()
@pytest.mark.parametrize("name", ["boat_swin_tiny", "boat_cswin_tiny"])
def test_the_outputs_of_the_public_code(name):
    published = recorded(name)
    model = visionattn.create_backbone(name, weights=published_state(published)).double().eval()
    assert count(model) == published["params"]
    for case in published["cases"]:
        assert relative_error(model(image_of(case).double()), case) < 1e-10, case["size"]


@torch.no_grad()
@pytest.mark.parametrize("host", ["swin", "cswin"])
def test_images_of_a_batch_never_meet(host):
    """Maps of 17 x 13 tokens and fewer; the last ones are one cluster, where the public code joins two images."""
    rows = {"dims": [32, 64, 64, 64], "depths": [1, 2, 1, 1], "num_heads": [2, 2, 2, 2]}
    model = visionattn.create_backbone(f"boat_{host}_tiny", **rows, num_classes=3).double().eval()
    images = torch.randn(2, 3, 66, 50, dtype=torch.float64)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, rtol=1e-10, atol=1e-12)


def test_where_the_content_attention_stands():
    def places(name):
        model = meta(visionattn.create_backbone, name, depths=[2, 2, 3, 2], num_classes=0)
        return [["content" in block.branches for block in stage.blocks] for stage in model.stages]

    assert places("boat_swin_tiny") == [[False, True], [False, True], [False, True, False], [False, False]]
    assert places("boat_cswin_tiny") == [[True, False], [True, False], [True, False, True], [True, False]]


def test_drop_path_leaves_the_content_attention_out_with_cswin_only():
    swin, cswin = (
        meta(visionattn.create_backbone, name, depths=[1, 1, 3, 1], drop_path_rate=0.5).stages[2].blocks
        for name in ("boat_swin_tiny", "boat_cswin_tiny")
    )
    assert isinstance(swin[1].content.drop_path, nn.Identity)
    assert cswin[2].content.drop_path.drop_prob == cswin[2].drop_path.drop_prob > 0


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
