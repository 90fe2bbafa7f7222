"""Pyramids with finer levels: recorded outputs of SHViT's published ones, strides, and what cannot be."""

import pytest
import torch

from tests.recorded import inputs_of, published_state, recorded, relative_error
from visionattn.heads.detection import Pyramid

SHVIT = [
    {"num_chs": c, "reduction": r, "module": f"stages.{i}"}
    for i, (c, r) in enumerate([(224, 16), (336, 32), (448, 64)])
]
PUBLISHED = {
    "mask_rcnn": ({"finer": 2, "pooled": 4, "extra": "none"}, [4, 8, 16, 32, 64]),
    "retinanet": ({"finer": 1, "extra": "p6_input"}, [8, 16, 32, 64, 128]),
}


def ours(name, finer):
    """The published name of a weight -> that of the pyramid."""
    kind, place, *rest = name.split(".")
    rest, place = rest[-1], int(place)
    names = {
        "lateral_convs": f"inner_blocks.{place}.0",
        "fpn_convs": f"layer_blocks.{place}.0" if place < len(SHVIT) else "extra_blocks.p6",
        "extra_trans_convs": f"finer.{place}",
        "extra_fpn_convs": f"finer_layers.{finer - 1 - place}",
    }
    return f"fpn.{names[kind]}.{rest}"


@pytest.mark.parametrize("head", PUBLISHED)
@torch.no_grad()
def test_levels_are_those_of_the_published_code(head):
    options, strides = PUBLISHED[head]
    pyramid, published = Pyramid(SHVIT, feature_norms="none", **options), recorded(f"parts/shvit_neck_{head}")
    assert pyramid.strides == strides
    assert pyramid.num_maps == 4
    state = published_state(published)
    pyramid.load_state_dict({ours(name, options["finer"]): tensor for name, tensor in state.items()})
    assert sum(param.numel() for param in pyramid.parameters()) == published["params"]
    for case in published["cases"]:
        levels = list(pyramid(inputs_of(case)).values())
        assert relative_error(levels[case["level"]], case) < 1e-5, (case["shapes"], case["level"])


def test_a_level_on_top_is_made_of_the_map_that_was_asked_for():
    """torchvision takes its own level wherever the map has as many channels."""
    info = [{"num_chs": 8, "reduction": 8 * 2**i} for i in range(2)]
    for extra, is_input in [("p6p7", False), ("p6p7_input", True)]:
        pyramid = Pyramid(info, 8, extra=extra, feature_norms="none").eval()
        maps = [torch.randn(1, 8, 8, 8), torch.randn(1, 8, 4, 4)]
        levels = pyramid(maps)
        source = maps[1] if is_input else levels["1"]
        assert torch.equal(levels["p6"], pyramid.fpn.extra_blocks.p6(source))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finer": 5}, "the finest map has stride 16, which cannot be halved 5 times"),
        ({"finer": -1}, "the finest map has stride 16, which cannot be halved -1 times"),
        ({"finer": 2, "pooled": 6}, "regions are pooled from 1 to 5 levels, got pooled=6"),
        ({"extra": "p6"}, "extra is one of none, pool, p6_input, p6p7, p6p7_input, got 'p6'"),
    ],
)
def test_what_the_maps_do_not_allow_is_refused_with_the_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        Pyramid(SHVIT, **options)
