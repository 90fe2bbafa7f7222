"""A small configuration tree of its own, so that these tests do not hang on the shipped files."""

import pytest

from visionattn.config import catalog

FILES = {
    "train.yaml": """
        defaults: [{backbone: tiny}, {trainer: cpu}, _self_, {experiment: null},
                   {override hydra/job_logging: none}, {override hydra/hydra_logging: none}]
        name: ${hydra:runtime.choices.backbone}
        run_dir: ${hydra:runtime.output_dir}
        seed: 0
        hydra: {run: {dir: "out/${name}/${now:%H-%M-%S-%f}"}, sweep: {dir: "out/sweep/${now:%H-%M-%S-%f}"}}
        """,
    "evaluate.yaml": """
        defaults: [{override hydra/job_logging: none}, {override hydra/hydra_logging: none}]
        ckpt: ???
        inner: {_target_: torch.nn.Linear, _partial_: true, in_features: "???"}
        hydra: {run: {dir: "out/evaluate"}}
        """,
    "backbone/tiny.yaml": """
        defaults: [{/mixer@mixers.s1: window}, {/mixer@mixers.s2: window}, _self_]
        _target_: torch.nn.Linear
        in_features: 3
        out_features: 4
        """,
    "backbone/small.yaml": "defaults: [tiny]\nout_features: 8\n",
    "mixer/window.yaml": "# windows\n_target_: torch.nn.GELU\n_partial_: true\nwindow_size: 7\nshift: true\n",
    "mixer/neighborhood.yaml": "_target_: torch.nn.ReLU\n_partial_: true\nkernel_size: 7\ndilation: 1\n",
    "trainer/cpu.yaml": "max_epochs: 2\naccelerator: cpu\nprecision: 32-true\n",
    "trainer/gpu.yaml": "max_epochs: 2\naccelerator: gpu\nprecision: bf16-mixed\n",
    "experiment/long.yaml": "# @package _global_\ntrainer: {max_epochs: 300}\n",
}


def write_tree(folder, files):
    from textwrap import dedent

    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return folder


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """The folder of the tree, in place of visionattn.conf."""
    folder = write_tree(tmp_path / "conf", FILES)
    monkeypatch.setattr(catalog, "SOURCE", f"file://{folder}")
    return folder
