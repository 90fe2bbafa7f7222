"""`visionattn benchmark` from the command line; the measurements themselves: tests/kernels/test_bench*.py."""

import pytest

from visionattn.cli import main


def test_simulate_prints_the_tiles(capsys):
    assert main(["benchmark", "simulate", "size=28", "window=7", "dilation=4"]) == 0
    assert "kernel 7, stride 1, dilation 4" in capsys.readouterr().out


def test_numbers_that_do_not_fit_are_one_sentence(capsys):
    assert main(["benchmark", "simulate", "size=14", "window=7", "dilation=8"]) == 2
    error = capsys.readouterr().err
    assert "simulate:" in error
    assert "14" in error


def test_kernels_dry_run_shows_its_arguments(capsys):
    assert main(["benchmark", "kernels", "--dry-run", "cases=swin_tiny.*", "repeats=3"]) == 0
    assert "swin_tiny.*" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            [],
            "benchmark needs a name: visionattn benchmark NAME; names: backbones, "
            "detection, kernels, lengths, loading, pixels, scan, segmentation, simulate, "
            "training",
        ),
        (["kernel"], "did you mean kernels?"),
    ],
)
def test_what_to_benchmark_must_be_said(words, answer, capsys):
    assert main(["benchmark", *words]) == 2
    assert answer in capsys.readouterr().err
