"""The structure of the code, held by tests: imports run one way, and attention's geometry stands in one place."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "visionattn"
ORDER = ["kernels", "attention", "backbones", "heads", "tasks", "commands", "cli"]
BELOW_TASKS = ORDER[: ORDER.index("tasks")]


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms or [""] for path in (PACKAGE / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Absolute names of all modules a file imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ORDER)
def test_imports_run_one_way(room):
    above = ORDER[ORDER.index(room) + 1 :]
    for path in sources(room):
        for name in imported(path):
            parts = name.split(".")
            assert not (parts[0] == "visionattn" and len(parts) > 1 and parts[1] in above), (
                f"{path.name} imports {name}"
            )


def test_nothing_below_tasks_imports_lightning_and_only_the_zoo_imports_hydra():
    for path in sources(*BELOW_TASKS):
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"lightning", "pytorch_lightning"}, path
        assert not roots & {"hydra", "omegaconf"}, path


@pytest.mark.parametrize("room", ["kernels", "attention"])
def test_kernels_and_mixers_need_torch_alone(room):
    optional = {"triton", "natten", "xformers", "timm"} if room == "kernels" else set()
    for path in sources(room):
        if "bench" in path.parts:
            continue
        for name in imported(path):
            assert name.split(".")[0] not in {"timm", "torchvision", "lightning", "hydra"} - optional, (
                f"{path} imports {name}"
            )


def test_partition_roll_and_unfold_stand_in_the_kernels_alone():
    wanted = re.compile(r"torch\.roll\(|\.roll\(|\.unfold\(|F\.unfold\(|window_partition|window_reverse")
    for path in sources(*[room for room in ORDER if room != "kernels"]):
        assert not wanted.search(path.read_text(encoding="utf-8")), path


def test_nothing_depends_on_the_links_at_the_root():
    for path in sources():
        assert not imported(path) & {"backbones", "heads", "conf", "kernels"}, path


def test_no_model_is_asked_for_by_name():
    names = [file.stem for file in (PACKAGE / "conf" / "backbone").glob("*.yaml") if file.stem != "base"]
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                constants = [c.value for c in [node.left, *node.comparators] if isinstance(c, ast.Constant)]
                assert not set(map(str, constants)) & set(names), f"{path}:{node.lineno}"


def test_files_stay_readable():
    for path in sources():
        assert path.read_text(encoding="utf-8").count("\n") <= 300, path
