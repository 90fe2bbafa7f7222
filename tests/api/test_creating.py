"""Models for a plain PyTorch loop: they learn, predict on images of unequal sizes, and name every mistake."""

import pytest
import torch
from torch import nn

import visionattn
from visionattn.backbones.hierarchical import HierarchicalBackbone
from visionattn.errors import ConfigError, DataError

SMALL = {
    "pyramid.channels": 16,
    "regions.width": 16,
    "regions.mask_channels": 16,
    "regions.sampled": 8,
    "proposals.after_nms": [20, 10],
}
UNEQUAL = ((3, 64, 48), (3, 40, 72))


class Own(nn.Module):
    """A backbone of one's own, of two maps."""

    feature_info = ({"num_chs": 8, "reduction": 4, "module": "a"}, {"num_chs": 16, "reduction": 8, "module": "b"})

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 16, 2, 2)

    def forward_intermediates(self, images, norm=False, intermediates_only=False):
        first = self.a(images)
        return [first, self.b(first)]


def pictures():
    return [torch.rand(*shape) for shape in UNEQUAL]


def objects():
    targets = []
    for _, height, width in UNEQUAL:
        masks = torch.zeros(1, height, width, dtype=torch.uint8)
        masks[0, 5:25, 4:30] = 1
        targets.append({"boxes": torch.tensor([[4.0, 5, 30, 25]]), "labels": torch.tensor([1]), "masks": masks})
    return targets


def learns(model, images, targets, steps=3):
    """Losses before and after a few steps; every one is a scalar with a gradient."""
    optimizer, sums = torch.optim.Adam(model.train().parameters(), lr=3e-3), []
    for _ in range(steps):
        losses = model(images, targets)
        assert all(loss.ndim == 0 for loss in losses.values())
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        sums.append(float(total.detach()))
    return sums


def test_a_detector_in_a_loop():
    model = visionattn.create_detector(Own(), classes=["cat", "dog"], head_options=SMALL)
    sums = learns(model, pictures(), objects(), steps=2)
    assert all(map(float.__ge__, sums, [0.0, 0.0]))
    model.head.roi_heads.score_thresh = 0.0
    with torch.no_grad():
        found = model.eval()(pictures())
    for one, (_, height, width) in zip(found, UNEQUAL, strict=True):
        assert set(one) == {"boxes", "scores", "labels", "masks"}
        assert one["masks"].shape == (len(one["boxes"]), height, width)
        assert len(one["boxes"]) == 0 or bool((one["labels"] < 2).all())


def test_a_detector_without_masks_on_a_backbone_of_ones_own():
    options = {key: value for key, value in SMALL.items() if "mask" not in key}
    model = visionattn.create_detector(Own(), "faster_rcnn", classes=3, head_options=options)
    targets = [{name: one[name] for name in ("boxes", "labels")} for one in objects()]
    assert set(learns(model, pictures(), targets, steps=1))
    assert model.classes == ["0", "1", "2"]


def test_a_segmenter_in_a_loop():
    options = {"decoder.channels": 8, "auxiliary.channels": 8}
    model = visionattn.create_segmenter("dinat_pico", classes=["a", "b", "c"], head_options=options)
    targets = [torch.randint(0, 3, shape[1:]) for shape in UNEQUAL]
    targets[0][:5] = 255
    assert set(model.train()(pictures(), targets)) == {"loss_pixel", "loss_auxiliary"}
    with torch.no_grad():
        images = pictures()
        found = model.eval()(images)
        alone = model(images[1][None])
    assert [tuple(one["classes"].shape) for one in found] == [shape[1:] for shape in UNEQUAL]
    assert torch.equal(found[1]["logits"], alone[0]["logits"])  # the other image has no part in it


def test_a_classifier_in_a_loop():
    model = visionattn.create_classifier("dinat_pico", classes=["a", "b"], mixers={"s3": "window"})
    sums = learns(model, pictures(), torch.tensor([0, 1]), steps=3)
    assert sums[-1] < sums[0]
    images = [(image * 255).to(torch.uint8) for image in pictures()]
    assert model.eval()(images).shape == (2, 2)


@pytest.mark.parametrize(
    ("images", "targets", "sentence"),
    [
        ([torch.rand(1, 8, 8)], objects()[:1], r"image 1 is shape \(1, 8, 8\)"),
        ([torch.zeros(3, 8, 8, dtype=torch.int64)], objects()[:1], "image 1 is int64"),
        ([torch.full((3, 8, 8), 255.0)], objects()[:1], "image 1 has floats from 255 to 255. The model normalizes"),
        ([], [], "no image in the batch"),
        (pictures(), None, "needs targets"),
        (pictures(), objects()[:1], "1 targets were given for 2 images"),
        (pictures(), [{"boxes": torch.zeros(0, 4)}] * 2, "image 1 has no labels"),
        (pictures(), [{**one, "labels": torch.tensor([2])} for one in objects()], r"in 0..1 for 2 classes, got 2..2"),
        (pictures(), [{**one, "boxes": torch.zeros(1, 5)} for one in objects()], r"image 1 are float32 \(1, 5\)"),
        (pictures(), [{**one, "boxes": torch.zeros(1, 4)} for one in objects()], "x1 < x2"),
        (pictures(), [{**one, "masks": torch.zeros(1, 9, 9)} for one in objects()], r"got \(1, 9, 9\)"),
    ],
)
def test_what_does_not_fit_is_told(images, targets, sentence):
    model = visionattn.create_detector(Own(), classes=2, head_options=SMALL).train()
    with pytest.raises(DataError, match=sentence):
        model(images, targets)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: visionattn.create_detector("swin_tinny", classes=2), "did you mean swin_tiny"),
        (lambda: visionattn.create_detector("swin_tiny", "mask_rcn", classes=2), "did you mean mask_rcnn"),
        (lambda: visionattn.create_detector("swin_tiny", "upernet", classes=2), "no head 'upernet' for detection"),
        (lambda: visionattn.create_detector("swin_tiny", "rcnn", classes=2), "leaves masks open"),
        (
            lambda: visionattn.create_detector("swin_tiny", classes=2, head_options={"mask": 1}),
            "did you mean head.masks",
        ),
        (lambda: visionattn.create_segmenter("swin_tiny", classes=[]), "how many there are"),
        (lambda: visionattn.create_segmenter("swin_tiny", classes=["a", "a"]), "a name twice"),
        (lambda: visionattn.create_classifier(nn.Linear(2, 2), classes=2), "Linear has no feature_info"),
        (lambda: visionattn.create_classifier(Own(), classes=2, mixers="window"), "goes with the name"),
        (
            lambda: visionattn.create_classifier("test_vit", classes=2, mixers="window"),
            "a network of timm takes no mixers",
        ),
        (lambda: visionattn.create_classifier("test_vit", classes=2, drop_pth_rate=0), "did you mean drop_path_rate"),
        (
            lambda: visionattn.create_detector(Own(), "fcos", classes=2, head_options={"pyramid.channels": 16}),
            "pyramid.channels is a multiple of 32, got 16",
        ),
        (
            lambda: visionattn.create_classifier("dinat_pico", 2, overrides={"depthz": 1}),
            "did you mean backbone.depths",
        ),
    ],
)
def test_wrong_arguments_are_answered_like_those_of_the_command_line(build, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build()


def mixers(model: HierarchicalBackbone) -> list[str]:
    return [type(stage.blocks[0].mixer).__name__ for stage in model.stages]


def test_mixers_in_the_natural_spelling():
    one = visionattn.create_backbone("dinat_pico", mixers={"s3": "window"})
    assert mixers(one).count("WindowAttention") == 1
    assert set(mixers(visionattn.create_backbone("dinat_pico", mixers="window"))) == {"WindowAttention"}
    both = visionattn.create_backbone("dinat_pico", mixers="window", overrides={"mixers.s2.window_size": 5})
    assert both.stages[1].blocks[0].mixer.window_size == (5, 5)
    ratio = visionattn.create_backbone("dinat_pico", overrides={"block.mlp_ratio": 2, "drop_path_rate": 0.1})
    width = ratio.feature_info[0]["num_chs"]
    assert next(m for m in ratio.stages[0].modules() if isinstance(m, nn.Linear) and m.out_features == 2 * width)
    with pytest.raises(ConfigError, match="did you mean window"):
        visionattn.create_backbone("dinat_pico", mixers={"s3": "windw"})
