"""A full disk is one sentence, and leaves what was written before."""

import resource

import pytest
import torch
from safetensors import SafetensorError

from visionattn.cli import main
from visionattn.errors import ConfigError, WriteError
from visionattn.reports import Report
from visionattn.training import MetricsFile
from visionattn.training.checkpoints import AtomicCheckpointIO
from visionattn.training.writing import writing


@pytest.fixture
def small_files():
    """No file may grow beyond 20 kB, which the system reports as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path, small_files):
    path, files = tmp_path / "last.ckpt", AtomicCheckpointIO()
    files.save_checkpoint({"number": 1}, path)
    small_files()
    with pytest.raises(WriteError, match=r"cannot write .*last\.ckpt: .*what was written before is whole.*resume=auto"):
        files.save_checkpoint({"number": 2, "weights": torch.zeros(100_000)}, path)
    assert files.load_checkpoint(path) == {"number": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_number_of_an_error_of_rust_is_the_systems(tmp_path):
    with (
        pytest.raises(WriteError, match=r"cannot write .*x: No space left on device; make room"),
        writing(tmp_path / "x", "make room"),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError, match="too short"), writing(tmp_path / "x"):
        raise SafetensorError("Error while deserializing: header too short")
    with pytest.raises(ConfigError, match="of the user"), writing(tmp_path / "x"):
        raise ConfigError("of the user") from OSError(28, "No space left on device")


def test_figures_that_do_not_fit_leave_those_before(tmp_path, small_files):
    log = MetricsFile(str(tmp_path))
    log.log_metrics({"a": 1.0}, step=1)
    log.save()
    before = log.path.read_text()
    small_files()
    log.log_metrics({f"b{n}": 1.0 for n in range(9000)}, step=2)  # new columns: the whole file is written anew
    with pytest.raises(WriteError, match=r"cannot write .*metrics\.csv"):
        log.save()
    assert log.path.read_text() == before


def test_other_errors_pass(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), writing(tmp_path):
        raise RuntimeError("mine")


def test_a_report_and_a_made_data_set_that_do_not_fit(tmp_path, small_files, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_files()
    with pytest.raises(OSError, match="File too large"):
        Report("long", subtitle="x" * 50_000).write(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
    assert main(["data", "make=shapes", "layout=coco", "dir=made", "num_train=60", "num_val=1"]) == 1
    assert "cannot write made: File too large; make room or choose another dir=" in capsys.readouterr().err
