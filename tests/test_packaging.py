"""The wheel holds everything: built here, unpacked elsewhere, every YAML composes from it."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

COMPOSE_ALL = """
import pathlib, sys
import visionattn
from visionattn import config
GROUPS = ("backbone", "data", "optim", "schedule", "trainer", "logger", "callbacks", "debug")
root = pathlib.Path(visionattn.__file__).parent
assert str(root).startswith(sys.argv[1]), root
count = 0
for path in sorted((root / "conf").rglob("*.yaml")):
    name = path.relative_to(root / "conf").with_suffix("").as_posix()
    group = name.partition("/")[0]
    if group in ("mixer", "stem", "downsample"):
        config.compose(name)
        count += 1
    elif group in GROUPS and path.stem != "base" and not path.stem.startswith("_"):
        config.compose("train", [f"{group}={path.stem}"])
        count += 1
print(count)
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_yaml_composes_from_the_wheel(unpacked):
    command = [sys.executable, "-P", "-c", COMPOSE_ALL, str(unpacked)]
    done = subprocess.run(
        command, cwd=unpacked.parent, env={"PYTHONPATH": str(unpacked)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_the_wheel_holds_the_marker_the_kernel_source_and_no_link(unpacked):
    assert (unpacked / "visionattn" / "py.typed").is_file()
    assert list((unpacked / "visionattn" / "kernels").rglob("*.cpp"))
    assert {path.name for path in unpacked.iterdir()} >= {"visionattn"}
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
