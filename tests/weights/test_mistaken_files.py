"""What is mistaken for a checkpoint: one sentence says what it is."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from visionattn.errors import CheckpointError
from visionattn.runs.open import open_run
from visionattn.weights import load_weights, read_checkpoint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer of git-lfs.*git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "a page of a web server"),
        (b"data:\n  root: x\n", "is a text file, not a checkpoint; of a run give the folder"),
    ],
)
@pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
def test_other_files_are_named(content, said, ending, tmp_path):
    path = tmp_path / f"best{ending}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said.replace("(", r"\(").replace(")", r"\)")):
        read_checkpoint(path)


def test_an_exported_graph_is_no_checkpoint(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x06")
    with pytest.raises(CheckpointError, match=r"model\.onnx is a graph for other programs, it is no checkpoint"):
        read_checkpoint(tmp_path / "model.onnx")


def test_a_folder_without_a_checkpoint_tells_what_it_holds(tmp_path):
    with pytest.raises(CheckpointError, match=r"the folder has no checkpoints/best\.ckpt, it holds nothing"):
        open_run(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"it holds model\.safetensors; an export is given as weights="):
        open_run(tmp_path)


def test_weights_alone_name_the_command_that_takes_them(tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.ones(2)}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"such as conv1\.weight: `visionattn evaluate backbone=NAME weights="):
        open_run(tmp_path / "other.ckpt")
    torch.save({"optimizer": 3}, tmp_path / "nothing.ckpt")
    with pytest.raises(CheckpointError, match="it holds optimizer"):
        open_run(tmp_path / "nothing.ckpt")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.full((2, 2), float("nan")), "weight is not finite"),
        (torch.ones(2, 2, dtype=torch.int8), "weight holds int8"),
    ],
)
def test_values_that_no_model_can_compute_with(value, said):
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    with pytest.raises(CheckpointError, match=said):
        load_weights(model, {"weight": value, "bias": torch.zeros(2)})
    assert torch.equal(model.weight, before)
    load_weights(model, {"weight": torch.ones(2, 2, dtype=torch.bfloat16), "bias": torch.zeros(2)})
    assert torch.equal(model.weight, torch.ones(2, 2))
