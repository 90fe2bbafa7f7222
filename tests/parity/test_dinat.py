"""DiNAT and DiNAT_s equal the published code: recorded outputs, and the paper written once more for the other sizes."""

import pytest
import torch
from torch.nn import functional as F

import visionattn
from tests.parity.published_nat import Published
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.backbones import zoo

TINY, SMALL = ([64, 128, 256, 512], [2, 4, 8, 16]), ([96, 192, 384, 768], [3, 6, 12, 24])
BASE, LARGE = ([128, 256, 512, 1024], [4, 8, 16, 32]), ([192, 384, 768, 1536], [6, 12, 24, 48])
DINAT, SHALLOW, SWIN_TINY, SWIN = [3, 4, 18, 5], [3, 4, 6, 5], [2, 2, 6, 2], [2, 2, 18, 2]
AT_224, AT_384 = (8, 4, 2, 1), (13, 6, 3, 1)
S = {"like_swin": True}
ROWS = {
    "dinat_mini": (TINY, SHALLOW, 3, AT_224, {}, 19984174),
    "dinat_tiny": (TINY, DINAT, 3, AT_224, {}, 27901582),
    "dinat_small": (SMALL, DINAT, 2, AT_224, {}, 50719681),
    "dinat_base": (BASE, DINAT, 2, AT_224, {"layer_scale": True}, 89769652),
    "dinat_large": (LARGE, DINAT, 2, AT_224, {}, 200943514),
    "dinat_large_384": (LARGE, DINAT, 2, AT_384, {}, 200943514),
    "dinat_large_384_11x11": (LARGE, DINAT, 2, AT_224, {"kernel": 11}, 201144250),
    "dinat_s_tiny": (SMALL, SWIN_TINY, 4, AT_224, S, 28288354),
    "dinat_s_small": (SMALL, SWIN, 4, AT_224, S, 49606258),
    "dinat_s_base": (BASE, SWIN, 4, AT_224, S, 87768224),
    "dinat_s_large": (LARGE, SWIN, 4, AT_224, S, 196532476),
    "dinat_s_large_384": (LARGE, SWIN, 4, AT_384, S, 196532476),
}
RECORDED = ["dinat_mini", "dinat_s_tiny", pytest.param("dinat_tiny", marks=pytest.mark.heavy)]


def published(name: str, depths: list[int] | None = None) -> Published:
    (dims, heads), full, ratio, largest, more, _ = ROWS[name]
    depths = depths or full
    dilations = [[d if b % 2 else 1 for b in range(depth)] for d, depth in zip(largest, depths, strict=True)]
    return Published(dims, depths, heads, dilations, ratio, **more)


def test_all_published_sizes_are_here():
    ours = {name for name in visionattn.list_backbones("dinat_*") if zoo.backbone_files()[name]["card"]["paper"]}
    assert ours == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_parameter_count_to_the_digit(name):
    with torch.device("meta"):
        model = visionattn.create_backbone(name)
    shapes = published(name).shapes().values()
    assert (
        sum(p.numel() for p in model.parameters())
        == sum(torch.Size(shape).numel() for shape in shapes)
        == ROWS[name][-1]
    )


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_outputs(name):
    record = recorded(name)
    assert {n: shape for n, shape, _ in record["state"]} == published(name).shapes()
    model = visionattn.create_backbone(name, weights=published_state(record)).eval()
    for case in record["cases"]:
        with torch.inference_mode():
            assert relative_error(model(image_of(case)), case) < 1e-5


def check(name: str, paper: Published, image_size: tuple[int, int]) -> None:
    state = paper.state()
    model = visionattn.create_backbone(name, overrides=paper.overrides(), weights=state).eval()
    image = torch.randn(1, 3, *image_size)
    with torch.inference_mode():
        expected = paper.logits(state, image)
        assert (model(image) - expected).norm() / expected.norm() < 1e-5


UNRECORDED = [name for name in ROWS if name not in ("dinat_mini", "dinat_tiny", "dinat_s_tiny")]


@pytest.mark.parametrize("name", UNRECORDED)
def test_sizes_without_a_recording(name):
    check(name, published(name, [2, 2, 2, 1]).narrow(), (64, 96))


@pytest.mark.heavy
@pytest.mark.parametrize("name", UNRECORDED)
def test_sizes_without_a_recording_at_full_width_and_depth(name):
    check(name, published(name), (224, 224))


def test_a_checkpoint_of_kernel_7_fits_kernel_11_by_bicubic_interpolation():
    paper = published("dinat_large", [1, 2, 1, 1]).narrow()
    state = paper.state()
    with pytest.warns(UserWarning, match="position tables were resized"):
        model = visionattn.create_backbone("dinat_large_384_11x11", overrides=paper.overrides(), weights=state)
    table = state["levels.1.blocks.1.attn.rpb"]
    larger = F.interpolate(table[None], size=(21, 21), mode="bicubic", align_corners=False)[0]
    torch.testing.assert_close(model.stages[1].blocks[1].mixer.bias_table, larger)


@pytest.mark.parametrize("size", [(64, 96), (50, 77)])
def test_a_size_that_the_dilation_does_not_divide(size):
    check("dinat_mini", published("dinat_mini", [2, 2, 2, 1]).narrow(), size)
