"""The wheel holds everything: built here, unpacked elsewhere, every YAML composes from it; installed, it trains."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

COMPOSE_SOME = """
import pathlib, sys
import visionattn
from visionattn import config
root = pathlib.Path(visionattn.__file__).parent
assert str(root).startswith(sys.argv[1]), root
config.compose("mixer/window")
for group in ("backbone", "data", "optim", "schedule", "trainer", "logger", "callbacks", "debug", "experiment"):
    paths = [path for path in sorted((root / "conf" / group).rglob("*.yaml")) if path.stem != "base"]
    names = [path.relative_to(root / "conf" / group).with_suffix("").as_posix() for path in paths]
    config.compose("train", [group + "=" + next(name for name in names if not name.startswith("_"))])
print("composed")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "site")
    return wheel.parent / "site"


def test_the_wheel_composes_on_its_own(unpacked):
    """Every file is composed from the source tree by ``tests/conf``; here it counts that the wheel's are found."""
    command = [sys.executable, "-P", "-c", COMPOSE_SOME, str(unpacked)]
    done = subprocess.run(
        command, cwd=unpacked.parent, env={"PYTHONPATH": str(unpacked)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "composed\n"


def files_of_the_package(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in (root / "visionattn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_file_of_the_package_and_no_link(unpacked):
    held, there = files_of_the_package(unpacked), files_of_the_package(ROOT)
    assert held == there
    assert {"visionattn/py.typed", "visionattn/kernels/backends/cpp/attention.cpp"} < held
    assert not (unpacked / "conf").exists()


def test_floors_and_constraints_agree():
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert "://" not in (ROOT / "constraints.txt").read_text()
    assert pins["lightning"] not in ("2.6.2", "2.6.3")
    for name in ("torch", "torchvision", "timm", "lightning", "hydra-core", "safetensors", "pytest", "ruff", "mypy"):
        assert name in pins


def test_the_floors_are_those_of_pyproject():
    command = [sys.executable, str(ROOT / "scripts" / "floors.py")]
    printed = subprocess.run([*command, "pytest"], check=True, capture_output=True, text=True).stdout.split()
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [line.replace("==", ">=") for line in printed[:-1]] == required
    assert printed[-1].startswith("pytest==")
    refused = subprocess.run([*command, "pytset"], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "the extra dev does not name pytset" in refused.stderr


@pytest.mark.heavy
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    """Installed by pip with everything that it needs (gigabytes), from a folder that holds one photo."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    scripts, folder = tmp_path / "env" / "bin", tmp_path / "empty"
    install = ["install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt", f"{wheel}[onnx]"]
    subprocess.run([scripts / "python", "-m", "pip", *install], check=True)
    folder.mkdir()
    Image.new("RGB", (40, 30), "orange").save(folder / "photo.png")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def visionattn(*words: str) -> str:
        command = [scripts / "visionattn", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert visionattn("--version") == f"visionattn {version()}\n"
    assert "everything can be built" in visionattn("train", "--dry-run")
    visionattn("train", "trainer.max_epochs=2", "hydra.run.dir=run")
    scored = json.loads(visionattn("evaluate", "ckpt=run", "--json"))
    assert scored["num_samples"] == 359
    assert "photo.png" in visionattn("predict", "ckpt=run", "source=photo.png", "hydra.run.dir=predicted")
    visionattn("export", "ckpt=run", "format=onnx", "dir=exported")
    assert (folder / "exported" / "model.onnx").is_file()
    assert (folder / "run" / "report.html").is_file()


def version() -> str:
    return re.search(r'__version__ = "(.*)"', (ROOT / "visionattn" / "__init__.py").read_text())[1]


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {version()}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version()}" in (ROOT / "CHANGELOG.md").read_text()
