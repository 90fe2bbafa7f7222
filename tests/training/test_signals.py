"""Being put back into SLURM's queue. Signals that stop a run: tests/commands/test_resume_kills.py."""

import pytest

from visionattn.training.signals import requeue


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A stand-in that writes down how it was called."""
    script = tmp_path / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    return tmp_path / "calls"


def test_a_job_is_requeued(scontrol, capsys):
    requeue()
    assert scontrol.read_text() == "requeue 77\n"
    assert "job 77 requeued" in capsys.readouterr().err


def test_a_task_of_an_array_is_requeued_by_its_own_number(scontrol, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue()
    assert scontrol.read_text() == "requeue 70_3\n"


@pytest.mark.parametrize("job", ["77; rm -rf /", ""])
def test_a_number_that_is_none_is_not_passed_on(scontrol, monkeypatch, capsys, job):
    monkeypatch.setenv("SLURM_JOB_ID", job)
    requeue()
    assert not scontrol.exists()
    assert "cannot requeue" in capsys.readouterr().err


def test_without_scontrol_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    requeue()
    assert "scontrol was not found" in capsys.readouterr().err
