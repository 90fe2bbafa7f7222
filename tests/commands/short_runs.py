"""One short training run that the tests of all commands share."""

from pathlib import Path

import pytest

from visionattn.cli import main

TINY = ["trainer.max_epochs=2", "trainer.limit_train_batches=4", "trainer.accelerator=cpu", "data.batch_size=16"]


def newest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two epochs of four batches."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", *TINY, "mixer@backbone.mixers.s3=swin/4"]) == 0
    return newest(folder / "outputs" / "classification" / "dinat_pico")


@pytest.fixture(scope="session")
def swin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a backbone that timm has too."""
    folder = tmp_path_factory.mktemp("swin") / "run"
    assert main(["train", "backbone=swin_pico", *TINY, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def exported(swin: Path) -> Path:
    """That run's model in the Hub's form, under timm's own names."""
    folder = swin.parent / "exported"
    assert main(["export", f"ckpt={swin}/checkpoints/best.ckpt", f"dir={folder}"]) == 0
    return folder
