"""The probes divide the local from the global: the shipped experiments, trained."""

import json

import pytest

from visionattn.cli import main
from visionattn.data.probes import PROBES, make_probe


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("probe", "images", "local", "above", "below"),
    [("mazes", 2000, "swin/local_2", 75, 32), ("scrambled", 1500, "swin/local_4", 90, 24)],
)
def test_a_local_mixer_guesses_and_a_global_one_knows(probe, images, local, above, below, tmp_path):
    """Guessing is right in 25 % of the mazes and in 17 % of the scrambled images."""
    make_probe(probe, tmp_path / "data", num_train=images, num_val=1000)
    words = ["train", f"experiment=probes/{probe}", f"data.root={tmp_path}/data"]
    top1 = {}
    for name, mixer in (("global", []), ("local", [f"mixer={local}"])):
        run = tmp_path / name
        assert main([*words, f"hydra.run.dir={run}", *mixer]) == 0
        top1[name] = json.loads((run / "results.json").read_text())["results"]["val/top1"]
    assert top1["global"] > above
    assert top1["local"] < below


def test_every_probe_has_its_experiment(tmp_path):
    for probe in PROBES:
        assert main(["train", f"experiment=probes/{probe}", f"data.root={tmp_path}", "--cfg", "job"]) == 0
