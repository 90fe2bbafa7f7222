"""Networks of timm as backbones: their maps are timm's, for any size and task; wrong names are told first."""

import pytest
import timm
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import visionattn
from tests.commands.short_runs import newest
from visionattn.backbones import TimmBackbone
from visionattn.backbones.timm_backbone import _ceil
from visionattn.cli import main
from visionattn.config import compose
from visionattn.config.spelling import ours
from visionattn.errors import CheckpointError, ConfigError
from visionattn.export.graph_modules import expected, graph_of
from visionattn.export.graphs import exported, runner, to_onnx
from visionattn.training.serving import prepare
from visionattn.weights import load_weights

VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize(("name", "strides"), [("resnet10t", [4, 8, 16, 32]), ("test_convnext", [4, 8, 16, 32])])
def test_the_maps_are_those_of_timm(name, strides):
    backbone = TimmBackbone(name).eval()
    theirs = timm.create_model(name, num_classes=0).eval()
    backbone.take_weights(theirs.state_dict())
    assert [info["reduction"] for info in backbone.feature_info] == strides
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = backbone.forward_intermediates(images, intermediates_only=True)
        expected = theirs.forward_intermediates(images, intermediates_only=True)[-4:]
        last = backbone(images)
    assert all(map(torch.equal, maps, expected))
    assert last.shape == maps[-1].shape


@pytest.mark.parametrize("name", ["resnet10t", "test_convnext", "vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_images_of_any_size_give_maps_of_the_declared_sizes(name):
    backbone = TimmBackbone(name, arguments={"depth": 2} if name.startswith("vit") else None).eval()
    with torch.no_grad():
        maps = backbone.forward_intermediates(torch.rand(1, 3, 70, 101), norm=True, intermediates_only=True)
    for one, info in zip(maps, backbone.feature_info, strict=True):
        stride = info["reduction"]
        assert tuple(one.shape[1:]) == (info["num_chs"], -(-70 // stride), -(-101 // stride))


def test_a_plain_transformer_gets_a_pyramid_and_every_parameter_a_gradient():
    backbone = TimmBackbone("vit_tiny_patch16_224", arguments=VIT)
    assert [(info["num_chs"], info["reduction"]) for info in backbone.feature_info] == [
        (8, 4),
        (16, 8),
        (32, 16),
        (32, 32),
    ]
    sum(one.square().mean() for one in backbone.forward_intermediates(torch.rand(1, 3, 64, 64))[1]).backward()
    assert all(p.grad is not None for name, p in backbone.named_parameters() if "norm" not in name)


def test_weights_that_do_not_fit_are_listed():
    backbone = TimmBackbone("resnet10t")
    state = timm.create_model("resnet10t", num_classes=7).state_dict()
    report = load_weights(backbone, state)
    assert report.left_out == ["net.fc.weight", "net.fc.bias"]
    assert "for images of 176x176 pixels with data.mean=[0.485, 0.456, 0.406]" in report.summary()
    del state["bn1.weight"]
    with pytest.raises(
        CheckpointError, match=r"^1 entry of the checkpoint does not fit timm's ResNet .*missing: net\.bn1\.weight"
    ):
        load_weights(backbone, state)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("convnext_tny", "timm has no network 'convnext_tny'; did you mean convnext_tiny"),
        ("convnext_tiny.fb_in22", r"no weights 'fb_in22' of convnext_tiny; did you mean convnext_tiny\.fb_in22k"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest(name, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TimmBackbone(name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("test_resnet", {}),
        ("test_convnext", {}),
        ("test_vit", {}),
        ("deit_tiny_distilled_patch16_224", VIT),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 1, 2, 2)}),
    ],
)
def test_timms_own_classifier_gives_timms_own_logits(name, arguments):
    theirs = timm.create_model(name, num_classes=7, **arguments).eval()
    backbone = TimmBackbone(name, num_classes=3, arguments=arguments).eval()
    assert backbone.classes_in(theirs.state_dict()) == 7
    backbone.reset_classifier(7)
    backbone.take_weights(theirs.state_dict())
    images = torch.rand(2, *theirs.pretrained_cfg["input_size"])
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), theirs(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "test_efficientnet"])
def test_a_task_trains_every_parameter_of_what_it_keeps(name):
    """An unused one would stop a training of several processes."""
    images = torch.rand(2, 3, 64, 64)
    for pooled in (True, False):
        backbone = TimmBackbone(name)
        prepare(backbone, pooled)
        maps = backbone.forward_intermediates(images, norm=True, intermediates_only=True)
        sum(one.square().mean() for one in maps).backward()
        assert [n for n, p in backbone.named_parameters() if p.grad is None] == []
        assert [one.shape[1] for one in maps] == [info["num_chs"] for info in backbone.feature_info]
        assert [maps[-1].shape[-2:] == (1, 1), len(maps) == 1] == [pooled, pooled]
    with pytest.raises(ConfigError, match="was made to give maps alone"):
        prepare(backbone, True)


def test_classification_pools_as_timm_does():
    theirs = timm.create_model("test_vit", num_classes=0).eval()
    model = visionattn.create_classifier("test_vit", classes=3).eval()
    model.backbone.take_weights(theirs.state_dict())
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(model.features(images)[0].flatten(1), theirs(images), rtol=0, atol=1e-6)


def test_weights_of_another_size_and_other_channels_are_resized_as_timm_does_it():
    state = timm.create_model("test_vit").state_dict()
    report = TimmBackbone("test_vit", in_chans=1, arguments={"img_size": 96}).take_weights(state)
    assert report.resized == {
        "net.pos_embed": ((1, 101, 64), (1, 37, 64)),
        "net.patch_embed.proj.weight": ((64, 3, 16, 16), (64, 1, 16, 16)),
    }


@pytest.mark.parametrize(
    ("key", "hint"), [("checkpoint_path", "weights="), ("pretrained", "weights="), ("in_chans", "backbone.in_chans=")]
)
def test_arguments_that_would_read_a_file_are_refused(key, hint):
    with pytest.raises(ConfigError, match=rf"backbone\.arguments takes no {key}: {hint}"):
        TimmBackbone("test_vit", arguments={key: 1})


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("beit_base_patch16_224", VIT, r"Beit does not take images of \(64, 64\) .*img_size"),
        ("test_coatnet", {}, r"MaxxVit does not take images of \(64, 64\) \(The size of tensor a .*img_size"),
    ],
)
def test_a_size_that_a_network_does_not_take_is_told(name, arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TimmBackbone(name, arguments=arguments).forward_intermediates(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("deit_tiny_distilled_patch16_224", VIT),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 1, 2, 2)}),
    ],
)
def test_images_of_any_size_are_classified(name, arguments):
    backbone = TimmBackbone(name, arguments=arguments).eval()
    prepare(backbone, True)
    image = torch.rand(1, 3, 61, 64)
    with torch.no_grad():
        vector = backbone(image)
        padded = backbone(torch.nn.functional.pad(image, (0, 0, 0, 3)))
    torch.testing.assert_close(vector, padded)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("hiera_tiny_224", {"embed_dim": 24, "stages": (1, 1, 1, 1)}), ("samvit_base_patch16", VIT)],
)
def test_a_final_norm_that_maps_cannot_take_is_left_out(name, arguments):
    backbone = TimmBackbone(name, arguments={**arguments, "img_size": 224})
    prepare(backbone, False)
    images = torch.rand(1, 3, 224, 224)
    maps = backbone.forward_intermediates(images, norm=True, intermediates_only=True)
    assert [one.shape[1] for one in maps] == [info["num_chs"] for info in backbone.feature_info]
    sum(one.square().mean() for one in maps).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("create", "head", "options"),
    [
        (visionattn.create_detector, "retinanet", {"head_options": {"pyramid.channels": 16}}),
        (visionattn.create_segmenter, "segman", {}),
    ],
)
def test_a_head_that_leaves_out_the_finest_map_leaves_nothing_without_a_gradient(create, head, options):
    model = create("test_vit", head, classes=2, **options)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert {name.rpartition(".")[0].rpartition(".")[0] for name in frozen} == {"backbone.pyramid.levels.0"}
    assert model.head.unused_maps == 1


class Maps(torch.nn.Module):
    """A backbone as an export traces it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return tuple(self.backbone.forward_intermediates(images, intermediates_only=True))


def test_a_graph_keeps_symbols_for_the_sizes_of_maps():
    edge = ShapeEnv().create_unbacked_symint()
    assert all(isinstance(_ceil(edge, stride), torch.SymInt) for stride in (3.5, 32))
    assert [_ceil(size, 3.5) for size in (7, 8, 70, 71)] == [2, 3, 20, 21]


@pytest.mark.heavy
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("head", ["upernet", "semantic_fpn", "segformer", "segman"])
def test_a_plain_transformer_with_a_head_becomes_a_graph_of_any_batch(head, tmp_path):
    model = visionattn.create_segmenter("test_vit", head, classes=3).eval()
    graph = graph_of(model, "model")
    to_onnx(exported(graph, torch.rand(2, 3, 131, 133)), tmp_path / "x.onnx", list(graph.outputs))
    run = runner(pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "x.onnx"))
    for size in ((1, 3, 64, 64), (3, 3, 161, 203)):
        images = torch.rand(size)
        with torch.no_grad():
            torch.testing.assert_close(run(images)[0], expected(model, graph, images)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.heavy
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_convnext", "vit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"],
)
def test_onnx_runtime_gives_the_same_maps_at_every_size(name, tmp_path):
    maps = Maps(TimmBackbone(name, arguments=VIT if name.startswith("vit") else None)).eval()
    with torch.no_grad():
        outputs = [f"map{i}" for i in range(len(maps.backbone.feature_info))]
        to_onnx(exported(maps, torch.rand(2, 3, 131, 163)), tmp_path / "maps.onnx", outputs)
        run = runner(pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "maps.onnx"))
        for size in ((64, 64), (161, 203)):
            images = torch.rand(1, 3, *size)
            for found, expected in zip(run(images), maps(images), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_networks_own_arguments_come_from_the_command_line():
    words = ["backbone=timm", "backbone.model=test_vit", "backbone.arguments={img_size: 96}"]
    assert compose("train", words).backbone.arguments == {"img_size": 96}


def test_a_recipe_that_changes_parts_of_its_own_backbone_says_so():
    with pytest.raises(ConfigError, match=r"experiment=shapes/upernet sets stem@backbone\.stem, .* backbone=timm"):
        compose("train", ["experiment=shapes/upernet", "backbone=timm", "backbone.model=test_vit"])


def test_timms_words_are_rewritten():
    assert ours(["backbone.pretrained=true"]) == ["weights=timm"]
    assert ours(["backbone=timm/resnet18.a1_in1k"]) == ["backbone=timm", "backbone.model=resnet18.a1_in1k"]
    assert compose("train", ["backbone=timm/test_vit"]).backbone.model == "test_vit"


@pytest.mark.filterwarnings("default")
def test_a_training_on_a_network_of_timm_loads_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["backbone=timm/test_resnet", "data.batch_size=16", "trainer.max_epochs=1"]
    assert main(["train", *words, "trainer.limit_train_batches=2", "trainer.accelerator=cpu"]) == 0
    folder = newest(tmp_path / "outputs" / "classification" / "timm" / "test_resnet")
    assert len(visionattn.load(folder, device="cpu").predict(torch.rand(3, 20, 30)).labels) == 5


@pytest.mark.parametrize(
    ("create", "options"),
    [
        (visionattn.create_detector, {"head": "faster_rcnn", "head_options": {"pyramid.channels": 16}}),
        (visionattn.create_segmenter, {"head": "semantic_fpn"}),
        (visionattn.create_classifier, {}),
    ],
)
def test_every_task_takes_one_from_python(create, options):
    model = create("vit_tiny_patch16_224", classes=2, arguments=VIT, **options).eval()
    with torch.no_grad():
        assert len(model([torch.rand(3, 64, 64)])) == 1
