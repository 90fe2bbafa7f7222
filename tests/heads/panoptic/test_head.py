"""Mask2Former's head: published size, transformers' own answers, any maps, and what it refuses."""

import sys

import pytest
import torch
from torch import nn

import visionattn
from tests.heads.segmentation.test_heads import count, info, maps
from visionattn.errors import ConfigError
from visionattn.heads.features import FeatureNorms
from visionattn.heads.panoptic import Mask2Former
from visionattn.weights.load import load_model

modeling = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
SMALL = {"channels": 32, "num_queries": 10, "encoder_layers": 1, "decoder_layers": 2, "num_heads": 4}
SMALL |= {"encoder_width": 48, "decoder_width": 64, "num_points": 64}


def head(*dims, classes=5, **options):
    torch.manual_seed(0)
    return Mask2Former(info(*dims), classes, **(SMALL | options))


def targets(*counts, size=(64, 96), classes=5):
    masks = [torch.zeros(k, *size, dtype=torch.uint8) for k in counts]
    for one in masks:
        for i, mask in enumerate(one):
            mask[4 * i : 4 * i + 24, 7 * i : 7 * i + 30] = 1
    return [{"labels": torch.arange(len(one)) % classes, "masks": one} for one in masks]


def test_the_parts_of_transformers_that_are_no_public_interface():
    """The floor of the extra stands for exactly these names and arguments."""
    from inspect import signature

    wanted = {
        "Mask2FormerPixelDecoder.__init__": ["self", "config", "feature_channels"],
        "Mask2FormerPixelDecoder.forward": ["self", "features"],
        "Mask2FormerTransformerModule.__init__": ["self", "in_features", "config"],
        "Mask2FormerTransformerModule.forward": ["self", "multi_scale_features", "mask_features"],
        "Mask2FormerLoss.__init__": ["self", "config", "weight_dict"],
        "Mask2FormerLoss.forward": [
            *("self", "masks_queries_logits", "class_queries_logits", "mask_labels", "class_labels")
        ],
        "Mask2FormerLoss.get_num_masks": ["self", "class_labels", "device"],
    }
    for name, arguments in wanted.items():
        owner, method = name.split(".")
        found = list(signature(getattr(getattr(modeling, owner), method)).parameters)
        assert found[: len(arguments)] == arguments, name
    assert issubclass(modeling.Mask2FormerPreTrainedModel, nn.Module)


def test_with_swin_tiny_it_has_the_published_number_of_parameters():
    from transformers import Mask2FormerConfig, SwinConfig

    backbone = visionattn.create_backbone("swin_tiny", num_classes=0)
    with torch.device("meta"):
        ours = Mask2Former(backbone.feature_info, 133)
        swin = SwinConfig(window_size=7, out_features=[f"stage{i}" for i in (1, 2, 3, 4)])
        theirs = modeling.Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=swin, num_labels=133))
    assert count(ours.network) == count(theirs) - count(theirs.model.pixel_level_module.encoder) == 19_914_566
    spare = 2 * 768  # transformers' Swin has the last norm twice
    assert count(backbone) + count(ours) == count(theirs) - spare == 47_435_264  # the paper: 47 M
    assert (ours.network.config.num_queries, ours.network.config.decoder_layers - 1) == (100, 9)
    assert ours.criterion.num_points == 12544
    assert ours.criterion.eos_coef == 0.1


@torch.no_grad()
def randomize(module):
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1 and "table" not in name and "embed" not in name:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif not name.endswith("sampling_offsets.bias"):
            nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.2)


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def pair():
    """transformers' whole model with a Swin of its own, and our backbone and head with its weights."""
    from transformers import Mask2FormerConfig, SwinConfig

    swin = SwinConfig(
        embed_dim=32,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 4, 8],
        window_size=7,
        drop_path_rate=0.0,
        out_features=[f"stage{i}" for i in (1, 2, 3, 4)],
    )
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "num_attention_heads": 4}
    sizes |= {"encoder_layers": 1, "encoder_feedforward_dim": 48, "decoder_layers": 3, "dim_feedforward": 64}
    config = Mask2FormerConfig(backbone_config=swin, num_labels=5, num_queries=10, train_num_points=64, **sizes)
    torch.manual_seed(0)
    theirs = modeling.Mask2FormerForUniversalSegmentation(config).eval()
    randomize(theirs)
    rows = ["dims=[32,64,128,256]", "depths=[2,2,2,2]", "num_heads=[1,2,4,8]"]
    backbone = visionattn.create_backbone("swin_tiny", num_classes=0, overrides=rows).eval()
    ours = Mask2Former(backbone.feature_info, 5, **SMALL).eval()
    assert load_model(backbone, ours, theirs.state_dict()).fresh == []
    return backbone, ours, theirs


@torch.no_grad()
def test_it_gives_the_answers_of_transformers_with_its_own_swin(pair):
    backbone, ours, theirs = pair
    image = torch.randn(1, 3, 256, 288)  # transformers shifts no windows on maps that are as small as one
    expected = theirs(image)
    features = backbone.forward_intermediates(image, norm=True, intermediates_only=True)
    their_maps = theirs.model.pixel_level_module.encoder(image).feature_maps
    for mine, other in zip(ours.norms(features), their_maps, strict=True):
        assert relative(mine, other) < 1e-5
    found = ours(features)
    assert relative(found.classes, expected.class_queries_logits) < 1e-5
    assert relative(found.masks, expected.masks_queries_logits) < 1e-5
    assert found.earlier == []
    classes, masks = ours.network(their_maps)[-1]
    assert torch.equal(classes, expected.class_queries_logits)
    assert torch.equal(masks, expected.masks_queries_logits)


def test_it_has_the_loss_of_transformers(pair):
    backbone, ours, theirs = pair
    image, wanted = torch.randn(2, 3, 64, 96), targets(3, 2)
    labels, masks = [one["labels"] for one in wanted], [one["masks"].float() for one in wanted]
    torch.manual_seed(1)
    expected = theirs(image, mask_labels=masks, class_labels=labels).loss
    ours.train()
    found = ours(backbone.forward_intermediates(image, norm=True, intermediates_only=True))
    ours.eval()
    torch.manual_seed(1)
    alone = ours.loss(found._replace(earlier=[]), wanted)  # points are drawn layer by layer, in another order
    torch.manual_seed(1)
    part = theirs.criterion(found.masks, found.classes, masks, labels)
    assert float(alone["loss_class"].detach()) == pytest.approx(
        2 * float(part["loss_cross_entropy"].detach()), rel=1e-5
    )
    assert float(alone["loss_mask"].detach()) == pytest.approx(5 * float(part["loss_mask"].detach()), rel=1e-5)
    assert float(alone["loss_dice"].detach()) == pytest.approx(5 * float(part["loss_dice"].detach()), rel=1e-5)
    whole = sum(ours.loss(found, wanted).values())
    assert float(whole.detach()) == pytest.approx(float(expected.detach()), rel=0.1)  # other points, the same layers


@pytest.mark.parametrize("dims", [(8, 12, 16), (8, 12, 16, 24), (6, 8, 12, 16, 24)])
@pytest.mark.parametrize("size", [(64, 96), (50, 37)])
def test_any_maps_reach_every_parameter(dims, size):
    module = head(*dims).train()
    features = maps(info(*dims), *size)
    found = module(features)
    assert found.classes.shape == (2, 10, 6)
    assert found.masks.shape == (2, 10, *features[0].shape[-2:])
    assert len(found.earlier) == 2
    losses = module.loss(found, targets(3, 1, size=size))
    assert set(losses) == {"loss_class", "loss_mask", "loss_dice"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_strides_need_not_double():
    strange = info(8, 12, 16, 24)
    for entry, stride in zip(strange, (4, 4, 8, 32), strict=True):
        entry["reduction"] = stride
    module = Mask2Former(strange, 5, **SMALL).eval()
    assert module(maps(strange)).masks.shape[-2:] == (16, 24)


def test_pictures_without_masks_train_too():
    module = head(8, 12, 16).train()
    losses = module.loss(module(maps(info(8, 12, 16))), targets(0, 0))
    sum(losses.values()).backward()
    assert losses["loss_mask"] == 0 < losses["loss_class"]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_mask_losses_are_divided_by_the_number_that_is_told():
    module, wanted = head(8, 12, 16).train(), targets(3, 1)
    found = module(maps(info(8, 12, 16)))
    parts = []
    for number in (None, torch.tensor(4.0), torch.tensor(8.0), torch.tensor(0.0)):
        torch.manual_seed(0)
        parts.append({name: float(one.detach()) for name, one in module.loss(found, wanted, number).items()})
    own, same, twice, none = parts
    assert own == pytest.approx(same)
    assert twice["loss_mask"] == pytest.approx(own["loss_mask"] / 2)
    assert twice["loss_class"] == pytest.approx(own["loss_class"])
    assert none["loss_dice"] == pytest.approx(4 * own["loss_dice"])


def test_evaluation_before_training_leaves_nothing_behind():
    """transformers keeps position embeddings between calls; made in inference mode, they are still of use."""
    module, features = head(8, 12, 16), maps(info(8, 12, 16))
    with torch.inference_mode():
        module.eval()(features)
    sum(module.loss(module.train()(features), targets(1, 1)).values()).backward()


def test_half_precision_keeps_the_pixel_decoder_in_32_bits():
    module = head(8, 12, 16).train()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(maps(info(8, 12, 16)))
        losses = module.loss(found, targets(2, 2))
    assert found.masks.dtype == torch.bfloat16
    assert all(one.dtype == torch.float32 and one.isfinite() for one in losses.values())


def test_embeddings_do_not_decay():
    names = head(8, 12, 16).no_weight_decay()
    kinds = ("queries_embedder", "queries_features", "level_embed")
    assert names == {f"network.transformer_module.{kind}.weight" for kind in kinds}


def test_too_few_maps_and_odd_widths_are_refused():
    with pytest.raises(ValueError, match="3 maps at least, the backbone has 2"):
        head(8, 12)
    for channels in (40, 96):
        with pytest.raises(ValueError, match="multiple of 32"):
            head(8, 12, 16, channels=channels, num_heads=4 if channels == 40 else 5)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "visionattn.heads.panoptic.parts", raising=False)
    monkeypatch.delattr("visionattn.heads.panoptic.parts", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'visionattn\[mask2former\]'"):
        head(8, 12, 16)


def test_norms_are_those_of_the_other_heads():
    assert isinstance(head(8, 12, 16).norms, FeatureNorms)
