"""FasterViT against the recorded outputs of the official code, and its carriers on maps that are not square."""

import pytest
import torch
from torch import nn

import visionattn
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.attention.continuous import CarrierAttention, ContinuousWindowAttention, GridEncoding
from visionattn.attention.padding import from_windows, to_windows
from visionattn.backbones import Block, CarrierStage, zoo
from visionattn.backbones.cost import count_parameters
from visionattn.backbones.families.fastervit import CarrierBlock, EncodedBlock, ResidualBlock
from visionattn.errors import CheckpointError

PARAMETERS = {
    "fastervit_0": 31_404_840,
    "fastervit_1": 53_366_696,
    "fastervit_2": 75_923_816,
    "fastervit_3": 159_547_944,
    "fastervit_4": 365_555_712,
    "fastervit_5": 957_520_552,
    "fastervit_6": 1_360_328_872,
    "fastervit_4_21k": 271_944_224,
    "fastervit_4_21k_384": 271_944_224,
    "fastervit_4_21k_512": 271_944_224,
    "fastervit_4_21k_768": 271_944_224,
}
ANY_RESOLUTION = ("depths=[1,1,2,1]", "block.layer_scale=1e-5", "stage.propagate=true")


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        model = visionattn.create_backbone(name)
    assert count_parameters(model) == PARAMETERS[name] == zoo.backbone_files()[name]["card"]["params"]


def check(name, published, cases, overrides=()):
    model = visionattn.create_backbone(name, weights=published_state(published), overrides=overrides).eval()
    assert count_parameters(model) == published["params"]
    with torch.no_grad():
        for case in cases:
            assert relative_error(model(image_of(case)), case) < 1e-5, case["size"]


def test_the_outputs_of_the_official_code():
    published = recorded("fastervit_0")
    check("fastervit_0", published, published["cases"])


def test_the_outputs_of_the_official_code_with_layer_scale_and_propagation():
    published = recorded("fastervit_3")
    check("fastervit_3", published, published["cases"][:1])


@pytest.mark.heavy
def test_the_outputs_of_the_official_code_with_layer_scale_and_propagation_on_sixteen_windows():
    published = recorded("fastervit_3")
    check("fastervit_3", published, published["cases"][1:])


def test_the_outputs_of_the_official_code_for_any_resolution_where_windows_do_not_divide_the_map():
    published = recorded("fastervit_0_any_res")
    check("fastervit_0", published, published["cases"], ANY_RESOLUTION)


def test_the_outputs_of_the_official_code_with_large_windows_and_no_carriers():
    published = recorded("fastervit_4_21k_shallow")
    check("fastervit_4_21k", published, published["cases"], ["depths=[1,1,1,1]"])


def small(**kwargs):
    return visionattn.create_backbone("fastervit_0", overrides=ANY_RESOLUTION, **kwargs)


def test_carriers_matter():
    published = recorded("fastervit_0_any_res")
    model = small(weights=published_state(published)).eval()
    model.stages[2].tokenizer.weight.data.neg_()
    case = published["cases"][0]
    with torch.no_grad():
        assert relative_error(model(image_of(case)), case) > 1e-4


def test_caches_and_second_names_are_left_out_and_counters_are_kept():
    state = published_state(recorded("fastervit_0_any_res"))
    state |= {
        name: torch.tensor(7) for name in ("norm.num_batches_tracked", "patch_embed.conv_down.1.num_batches_tracked")
    }
    state["levels.2.blocks.0.pos_embed.relative_bias"] = torch.zeros(1, 49, 256)
    state["levels.2.blocks.0.hat_attn.pos_emb_funct.relative_position_index"] = torch.zeros(16, 16)
    state["levels.2.global_tokenizer.to_global_feature.pos.weight"] = state[
        "levels.2.global_tokenizer.pos_embed.weight"
    ]
    model = small(weights={"state_dict": {f"module.{name}": value for name, value in state.items()}})
    assert model.norm.num_batches_tracked == model.stem.norm1.num_batches_tracked == 7
    assert model.stem.norm2.num_batches_tracked == 0


def test_names_that_do_not_fit_are_listed():
    state = published_state(recorded("fastervit_0_any_res"))
    del state["levels.2.blocks.1.hat_attn.qkv.weight"]
    state["levels.3.blocks.0.hat_norm9.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as raised:
        small(weights=state)
    assert "missing: stages.2.blocks.1.carrier.mixer.qkv.weight" in raised.value.details
    assert "not in the model: levels.3.blocks.0.hat_norm9.weight" in raised.value.details


def excited(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def build(propagate=True, depth=2):
    def mixer(dim, num_heads, index):
        return ContinuousWindowAttention(dim, num_heads, window_size=3, carriers=2)

    stage = CarrierStage(8, 8, 2, mixer, Block, [0.0] * depth, first=True, downsample=nn.Identity, propagate=propagate)
    return excited(stage).double().eval()


@pytest.mark.parametrize("size", [(6, 9), (9, 3), (5, 11), (3, 3)])
def test_turning_map_and_weights_turns_the_result(size):
    """What tells rows from columns is turned with the map: confusing the two shows where windows form no square."""
    stage, x = build(), torch.randn(2, *size, 8, dtype=torch.float64)
    want = stage(x)
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.transpose(2, 3).contiguous()
        elif isinstance(module, nn.Sequential):
            module[0].weight.data = module[0].weight.data.flip(1)
    torch.testing.assert_close(stage(x.transpose(1, 2)).transpose(1, 2), want, rtol=1e-10, atol=1e-10)


def test_a_window_reaches_the_others_through_carriers_alone():
    stage = build(propagate=False, depth=2)
    x = torch.randn(1, 6, 9, 8, dtype=torch.float64)
    other = x.clone()
    other[:, 3:, 6:] += 1  # the last window
    changed = (stage(other) - stage(x)).abs().amax(dim=(0, 3)) > 1e-9
    assert changed.all()
    tokens, carriers = to_windows(x, (3, 3)), stage.first_carriers(x)
    moved = tokens.clone()
    moved[:, 1, 2] = torch.randn(9, 8, dtype=torch.float64)
    before, after = stage.blocks[0](tokens, carriers), stage.blocks[0](moved, carriers)
    changed = (after[0] - before[0]).abs().amax(dim=(0, 3, 4)) > 1e-9
    assert changed.tolist() == [[False] * 3, [False, False, True]]
    changed = (after[1] - before[1]).abs().amax(dim=(0, 3)) > 1e-9
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[2:, 4:] = True  # the carriers of the last window, and no others
    assert torch.equal(changed, expected)


def test_first_carriers_are_means_of_overlapping_rectangles():
    stage = build()
    nn.init.dirac_(stage.tokenizer.weight, groups=8)
    nn.init.zeros_(stage.tokenizer.bias)
    x = torch.randn(1, 6, 9, 8, dtype=torch.float64)
    carriers = stage.first_carriers(x)
    assert carriers.shape == (1, 4, 6, 8)  # distance 1; 6 - 3 = 3 rows and 9 - 5 = 4 columns each
    torch.testing.assert_close(carriers[0, 1, 5], x[0, 1:4, 5:9].mean((0, 1)))


def test_carriers_go_to_the_nearest_tokens():
    stage = build()
    carriers = torch.arange(24.0).view(1, 4, 6, 1)
    nearest = from_windows(stage.nearest_carriers(carriers), (3, 3))[0, :, :, 0]
    rows, columns = torch.tensor([0, 0, 1, 2, 2, 3]), torch.tensor([0, 0, 1, 2, 2, 3, 4, 4, 5])
    assert torch.equal(nearest, carriers[0, :, :, 0][rows][:, columns])


def test_tokens_and_carriers_of_a_window_attend_to_each_other_with_a_bias_among_tokens_alone():
    attention = excited(ContinuousWindowAttention(8, 2, window_size=3, carriers=2)).double()
    tokens = torch.randn(1, 2, 1, 13, 8, dtype=torch.float64)
    table = attention.bias((3, 3))
    bias = torch.zeros(2, 13, 13, dtype=torch.float64)
    for query in range(9):
        for key in range(9):
            bias[:, 4 + query, 4 + key] = table[:, key // 3 - query // 3 + 2, key % 3 - query % 3 + 2]
    q, k, v = (part.view(1, 2, 13, 2, 4).transpose(2, 3) for part in attention.qkv(tokens).chunk(3, dim=-1))
    out = (q @ k.transpose(-1, -2) / 2 + bias).softmax(-1) @ v
    want = attention.proj(out.transpose(2, 3).reshape(1, 2, 13, 8))
    torch.testing.assert_close(CarrierAttention(attention)(tokens)[:, :, 0], want, rtol=1e-10, atol=1e-10)


def test_images_of_a_batch_do_not_see_each_other():
    stage, x = build(), torch.randn(3, 5, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(stage(x)[1:2], stage(x[1:2]), rtol=1e-10, atol=1e-12)


def test_coordinates_run_from_minus_one_and_one_token_is_in_the_middle():
    encoding = GridEncoding(4)
    seen = []
    encoding.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert encoding((4, 1)).shape == (4, 1, 4)
    assert seen[0][:, 0].tolist() == [[-1.0, 0.0], [-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]


def test_every_mixer_gets_the_block_it_wants():
    swapped = ("mixer@mixers.s1=window", "mixer@mixers.s3=neighborhood")
    model = visionattn.create_backbone("fastervit_0", overrides=(*ANY_RESOLUTION, *swapped)).eval()
    kinds = [type(stage.blocks[0]) for stage in model.stages]
    assert kinds == [Block, ResidualBlock, Block, EncodedBlock]
    assert [type(stage.blocks[0]) for stage in small().stages][2] is CarrierBlock
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 96)).shape == (1, 1000)


def test_a_stage_has_carriers_in_all_blocks_or_in_none():
    def mixer(dim, num_heads, index):
        return ContinuousWindowAttention(dim, num_heads, window_size=3, carriers=2 * index)

    with pytest.raises(ValueError, match=r"as many carriers along a side, got \[0, 2\]"):
        CarrierStage(8, 8, 2, mixer, Block, [0.0, 0.0], first=True, downsample=nn.Identity)


@pytest.mark.parametrize(
    ("window", "carriers", "message"), [(3, 4, "cannot have 4 carriers"), (0, 0, "positive, got 0")]
)
def test_windows_and_carriers_that_cannot_be_are_refused(window, carriers, message):
    with pytest.raises(ValueError, match=message):
        ContinuousWindowAttention(8, 2, window_size=window, carriers=carriers)


@pytest.mark.parametrize("size", [(200, 333), (256, 320), (33, 47)])
def test_four_levels_at_any_size(size):
    model = visionattn.create_backbone("fastervit_0", features_only=True, overrides=ANY_RESOLUTION).eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 3, *size))
    for feature, channels, stride in zip(maps, model.feature_info.channels(), (4, 8, 16, 32), strict=True):
        assert feature.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert torch.isfinite(feature).all()
