"""Distributed checkpoints: read without running anything, and known to be damaged where they are."""

import json
import pickle

import pytest
import torch
from torch.distributed import checkpoint

from visionattn.errors import CheckpointError
from visionattn.weights.distributed import CONTENTS, FACTS, SUMS, checksums, folder_damage, read_facts
from visionattn.weights.read import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "last.ckpt"
    state = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    optimizer = {"state": {"a": torch.ones(2)}, "param_groups": [{"lr": 0.1}]}
    checkpoint.save({"state_dict": state, "optimizer_0": optimizer}, checkpoint_id=path, no_dist=True)
    torch.save({"config": "seed: 1", "global_step": 7}, path / FACTS)
    (path / SUMS).write_text(json.dumps(checksums(file for file in path.iterdir() if file.name != SUMS)))
    return path


def test_the_weights_are_read(folder):
    contents = read_checkpoint(folder)
    assert contents["global_step"] == 7
    assert contents["state_dict"].keys() == {"a.weight", "b"}
    assert torch.equal(contents["state_dict"]["a.weight"], torch.arange(6.0).view(2, 3))
    assert contents["state_dict"]["b"].dtype == torch.bfloat16
    assert read_facts(folder)["state_dict"] == {}


def test_damage_is_found(folder):
    assert folder_damage(folder) == ""
    (part,) = folder.glob("*.distcp")
    contents = bytearray(part.read_bytes())
    contents[len(contents) // 2] ^= 1
    part.write_bytes(contents)
    assert folder_damage(folder) == f"wrong checksum: {part.name}"
    part.unlink()
    assert "No such file" in folder_damage(folder)
    (folder / FACTS).unlink()
    assert folder_damage(folder) == f"{FACTS} is missing"


class Hostile:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_hostile_list_of_contents_is_refused(folder, capsys):
    (folder / CONTENTS).write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CheckpointError, match=r"names builtins\.print, which is refused"):
        read_checkpoint(folder)
    assert capsys.readouterr().out == ""
