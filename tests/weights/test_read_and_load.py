"""Checkpoints are data: read without running anything, and every name accounted for."""

import os
import pickle
import re
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file

import visionattn
from visionattn.backbones.timm_backbone import TimmBackbone
from visionattn.errors import CheckpointError
from visionattn.weights import load_weights, read_checkpoint, read_state_dict


@pytest.fixture(scope="module")
def model():
    return visionattn.create_backbone("swin_pico", num_classes=4)


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_wrappers_and_prefixes_are_removed(model, wrap, prefix, tmp_path):
    torch.save(wrap({prefix + name: tensor for name, tensor in model.state_dict().items()}), tmp_path / "w.pth")
    other = visionattn.create_backbone("swin_pico", num_classes=4, weights=str(tmp_path / "w.pth"))
    assert same(model, other)


@pytest.mark.parametrize(
    "build", [lambda: visionattn.create_backbone("swin_pico"), lambda: TimmBackbone("test_resnet")]
)
def test_a_model_of_shapes_alone_takes_shapes_and_torch_warns_of_nothing(build):
    given = build().state_dict()
    with torch.device("meta"):
        shapes = build()
    assert load_weights(shapes, given).taken
    assert all(tensor.is_meta for tensor in shapes.state_dict().values())
    with pytest.raises(CheckpointError, match="shape"):
        load_weights(shapes, {name: tensor[..., None] for name, tensor in given.items()})


def test_another_number_of_classes_starts_the_classifier_afresh(model):
    """As timm does it for published weights, and said."""
    with pytest.warns(UserWarning, match="the weights tell 4 classes apart, the model 7: its classifier starts afresh"):
        other = visionattn.create_backbone("swin_pico", num_classes=7, weights=model.state_dict())
    assert other.head.fc.weight.shape[0] == other.num_classes == 7
    assert torch.equal(other.norm.weight, model.norm.weight)
    assert torch.equal(other.stages[0].blocks[0].mixer.qkv.weight, model.stages[0].blocks[0].mixer.qkv.weight)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels_fold_the_first_convolution(model, channels):
    """Summed for one channel; repeated and scaled for more, so that equal channels give what they gave."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = visionattn.create_backbone("swin_pico", num_classes=4, in_chans=channels, weights=model.state_dict())
    theirs, ours = model.stem.conv1.weight, other.stem.conv1.weight
    whole = theirs.sum(1, keepdim=True) if channels == 1 else torch.cat([theirs, theirs[:, :1]], 1) * 3 / 4
    torch.testing.assert_close(ours, whole)


def test_safetensors(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    other = visionattn.create_backbone("swin_pico", num_classes=4, weights=tmp_path / "w.safetensors")
    assert same(model, other)


def test_what_does_not_fit_is_listed(model):
    state = dict(model.state_dict())
    state["extra.weight"] = torch.zeros(1)
    del state["norm.bias"]
    state["head.fc.weight"] = torch.zeros(9, 128)
    with pytest.raises(CheckpointError) as raised:
        load_weights(model, state)
    message = str(raised.value)
    assert message.startswith("3 entries of the checkpoint, read as visionattn, do not fit the model (1 missing, ")
    for part in ("missing: norm.bias", "not in the model: extra.weight", "head.fc.weight has shape (9, 128)"):
        assert part in message
    assert len(raised.value.details) == 3


def test_a_refusal_names_a_few_and_the_nearly_right_ones_first(model):
    state = {f"tower.{name}": tensor for name, tensor in model.state_dict().items()} | {"a": torch.zeros(1)}
    with pytest.raises(CheckpointError) as raised:
        load_weights(model, state)
    message = str(raised.value)
    assert "missing: stem.conv1.weight (nearest: tower.stem.conv1.weight)" in message
    assert message.endswith(f"HYDRA_FULL_ERROR=1 lists all {len(raised.value.details)}")
    assert len(message) < 500
    assert len(raised.value.details) == 2 * len(state) - 1


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    torch.save({"state_dict": Payload(str(tmp_path / "ran"))}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="more than tensors and plain values"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_damaged_files_are_named(tmp_path, content, suffix):
    path = tmp_path / f"torn{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="torn"):
        read_checkpoint(path)


def test_a_truncated_checkpoint_is_named(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"half\.pth has no end: its [\d,]+ bytes begin as a checkpoint"):
        read_checkpoint(tmp_path / "half.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "photo.ckpt is a JPEG image, it is no checkpoint"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes them"),
        (b"\x08\x07\x12\x07pytorch", "begins with the bytes 08 07 12 07, it is no checkpoint"),
    ],
)
def test_files_of_other_kinds_are_told_by_their_first_bytes(tmp_path, content, said):
    (tmp_path / "photo.ckpt").write_bytes(content + bytes(300))
    with pytest.raises(CheckpointError, match=re.escape(said)):
        read_checkpoint(tmp_path / "photo.ckpt")


def test_what_a_pickle_would_run_is_named_without_advice_to_run_it(tmp_path):
    torch.save({"state_dict": Payload("x")}, tmp_path / "evil.bin")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(Payload("x"), protocol=4))
    for name, named in (("evil", r" \(posix\.mkdir\)"), ("plain", "")):
        with pytest.raises(CheckpointError, match=rf"plain values{named}\. A checkpoint can run code") as caught:
            read_checkpoint(tmp_path / f"{name}.bin")
        assert "weights_only" not in str(caught.value)


def test_safetensors_are_known_by_their_content(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "renamed.bin")
    torch.save(model.state_dict(), tmp_path / "renamed.safetensors")
    assert read_checkpoint(tmp_path / "renamed.bin").keys() == read_checkpoint(tmp_path / "renamed.safetensors").keys()


def test_a_zip_that_climbs_out_of_its_folder_writes_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "climb.ckpt", "w") as archive:
        archive.writestr("../../escaped", "x")
    with pytest.raises(CheckpointError, match=r"climb\.ckpt"):
        read_checkpoint(tmp_path / "climb.ckpt")
    assert not (tmp_path.parent / "escaped").exists()


def test_a_safetensors_header_of_ten_gigabytes_is_refused_at_once(tmp_path):
    (tmp_path / "big.safetensors").write_bytes((10 * 2**30).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="big"):
        read_checkpoint(tmp_path / "big.safetensors")


def test_missing_and_empty(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match="no tensors in it; its entries are epoch"):
        read_state_dict(tmp_path / "empty.ckpt")
