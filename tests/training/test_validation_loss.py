"""A run does not go on, nor end as done, where validation gives no number."""

import pytest
import torch

from visionattn.cli import main
from visionattn.errors import NonFiniteLossError
from visionattn.training.nonfinite import check_validation


def test_what_is_no_number_is_said():
    check_validation(torch.tensor(2.0), 3)
    with pytest.raises(NonFiniteLossError, match="the validation loss is nan after step 3"):
        check_validation(torch.tensor(float("nan")), 3)


@pytest.mark.filterwarnings("default")
def test_a_rate_that_spoils_the_weights_in_the_last_step_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    job = ["train", "backbone=swin_pico", "debug=default", "trainer.accelerator=cpu", "logger=csv", "optim.lr=1e30"]
    assert main(job) == 1
    assert "the validation loss is nan after step 2" in " ".join(capsys.readouterr().err.split())
