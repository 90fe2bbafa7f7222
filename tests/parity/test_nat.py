"""NAT equals the published code: recorded outputs, and the paper written once more for the other sizes."""

import pytest
import torch

import visionattn
from tests.parity.published_nat import Published
from tests.recorded import image_of, published_state, recorded, relative_error

ROWS = {
    "mini": ([64, 128, 256, 512], [3, 4, 6, 5], [2, 4, 8, 16], 3, False, 19984174),
    "tiny": ([64, 128, 256, 512], [3, 4, 18, 5], [2, 4, 8, 16], 3, False, 27901582),
    "small": ([96, 192, 384, 768], [3, 4, 18, 5], [3, 6, 12, 24], 2, True, 50743297),
    "base": ([128, 256, 512, 1024], [3, 4, 18, 5], [4, 8, 16, 32], 2, True, 89769652),
}


def published(size: str, depths: list[int] | None = None) -> Published:
    dims, full, heads, ratio, layer_scale, _ = ROWS[size]
    depths = depths or full
    return Published(dims, depths, heads, [[1] * depth for depth in depths], ratio, layer_scale=layer_scale)


def test_all_published_sizes_are_here():
    assert set(visionattn.list_backbones("nat_*")) == {f"nat_{size}" for size in ROWS}


@pytest.mark.parametrize("size", ROWS)
def test_parameter_count_to_the_digit(size):
    with torch.device("meta"):
        model = visionattn.create_backbone(f"nat_{size}")
    shapes = published(size).shapes().values()
    assert (
        sum(p.numel() for p in model.parameters())
        == sum(torch.Size(shape).numel() for shape in shapes)
        == ROWS[size][-1]
    )


@pytest.mark.parametrize("name", ["nat_mini", pytest.param("nat_tiny", marks=pytest.mark.heavy)])
def test_recorded_outputs(name):
    record = recorded(name)
    assert {n: shape for n, shape, _ in record["state"]} == published(name.removeprefix("nat_")).shapes()
    model = visionattn.create_backbone(name, weights=published_state(record)).eval()
    for case in record["cases"]:
        with torch.inference_mode():
            assert relative_error(model(image_of(case)), case) < 1e-5


def check(size: str, paper: Published, image_size: tuple[int, int]) -> None:
    state = paper.state()
    model = visionattn.create_backbone(f"nat_{size}", overrides=paper.overrides(), weights=state).eval()
    image = torch.randn(1, 3, *image_size)
    with torch.inference_mode():
        expected = paper.logits(state, image)
        assert (model(image) - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("image_size", [(96, 64), (32, 148)])
@pytest.mark.parametrize("size", ["small", "base"])
def test_sizes_without_a_recording(size, image_size):
    check(size, published(size, [1, 2, 1, 1]).narrow(), image_size)


@pytest.mark.heavy
@pytest.mark.parametrize("size", ["small", "base"])
def test_sizes_without_a_recording_at_full_width_and_depth(size):
    check(size, published(size), (224, 224))
