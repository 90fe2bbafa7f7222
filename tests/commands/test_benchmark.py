"""`visionattn benchmark` from the command line; the measurements themselves: tests/kernels/test_bench*.py."""

import io
import json

import pytest
from rich.console import Console

from visionattn.benchmarks.record import show
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


def test_json_is_all_that_is_printed(capsys):
    assert main(["benchmark", "simulate", "size=28", "window=7", "--json"]) == 0
    printed = capsys.readouterr()
    (first, *_) = json.loads(printed.out)["rows"]
    assert first["visits_mean"] > 0
    assert "loading PyTorch" in printed.err
    assert "useful" in printed.err
    assert main(["benchmark", "simulate", "-m", "size=14,28", "json=true"]) == 2
    assert "json=true prints one document, and a sweep has many" in capsys.readouterr().err


NAME = "timm swin_tiny_patch4_window7_224, compiled, channels last"


@pytest.mark.parametrize("width", [80, 40])
def test_no_name_is_cut(width, monkeypatch):
    """At 80 columns settings that all rows share move into the title; in fewer, names go on in the next line."""
    monkeypatch.setenv("COLUMNS", str(width))
    headings = ("type", "batch", "model", "img/s", "x timm", "peak MB", "of GEMM")
    rows = [["float32", "8", name, "1234.5", "1.00", "1024", "12%"] for name in (NAME[:-15], "ours")]
    show(headings, rows, "swin_tiny, forward", console := Console(file=io.StringIO()))
    text = console.file.getvalue()
    assert all(word in text for word in NAME[:-15].split())
    assert "\u2026" not in text
    assert "swin_tiny, forward, type float32, batch 8" in " ".join(text.split())
    assert width == 40 or (NAME[:-15] in text and max(map(len, text.splitlines())) <= 80)


def test_a_row_is_a_line_in_a_pipe(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    console = Console(file=io.StringIO())
    show(("model", "what is said about it", "x timm"), [[NAME * 3, "a b c " * 9, "1.00"]], None, console)
    (line,) = [line for line in console.file.getvalue().splitlines() if "1.00" in line]
    assert NAME * 3 in line
