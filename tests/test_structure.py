"""The structure of the code, held by tests: imports run one way, and attention's geometry stands in one place."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "visionattn"
MAY_IMPORT = {
    "errors": "",
    "files": "errors",
    "lazy": "",
    "options": "errors",
    "drawing": "",
    "reports": "errors files drawing",
    "kernels": "errors",
    "weights": "errors files lazy",
    "config": "errors",
    "heads": "errors lazy options kernels",
    "attention": "errors lazy kernels",
    "data": "errors files lazy drawing",
    "backbones": "errors lazy options kernels attention weights config",
    "training": "errors files lazy weights data",
    "tasks": "errors files lazy drawing reports heads data training",
    "runs": "errors files lazy drawing reports heads weights config data backbones training tasks",
    "analysis": (
        "errors lazy drawing reports kernels attention heads weights config data backbones training tasks runs"
    ),
    "export": "errors lazy drawing kernels attention heads weights config data backbones training tasks runs",
    "benchmarks": (
        "errors files lazy drawing reports kernels attention heads weights config data backbones training tasks runs "
        "export"
    ),
    "comparison": (
        "errors files drawing reports kernels weights config data backbones training tasks runs export benchmarks"
    ),
    "commands": (
        "errors files lazy drawing reports kernels heads weights config data backbones training tasks runs export "
        "benchmarks comparison analysis"
    ),
    "cli": "errors files lazy config commands runs comparison",
    "api": ("errors lazy drawing kernels heads weights config data backbones training tasks runs commands cli"),
    "registration": "backbones",
    "conf": "",
    "__init__": "registration backbones weights lazy api",
    "__main__": "cli",
}
"""Room -> rooms that it may import; a room is a folder of the package, or a file beside them."""
BELOW_TRAINING = ("drawing", "kernels", "attention", "backbones", "heads", "weights", "config")
HYDRA = ("config", "runs", "export", "commands", "cli", "benchmarks", "backbones")


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms or [""] for path in (PACKAGE / room).rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def imported(path: Path) -> set[str]:
    """Absolute names of all modules a file imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _file_of(module: Path) -> list[Path]:
    """The file of a module or package, or that of the module that a name stands in."""
    candidates = (module.with_suffix(".py"), module / "__init__.py")
    candidates += (module.parent.with_suffix(".py"), module.parent / "__init__.py")
    return next(([file] for file in candidates if file.is_file()), [])


@cache
def files_imported(path: Path) -> frozenset[Path]:
    """Files of the package that a file imports."""
    found = set()
    for name in imported(path):
        if name.split(".")[0] == "visionattn":
            found |= set(_file_of(PACKAGE.joinpath(*name.split(".")[1:])))
    return frozenset(found - {path, PACKAGE / "__init__.py"})


def test_every_room_has_its_rule():
    rooms = {room_of(path) for path in sources()}
    assert rooms == set(MAY_IMPORT)
    places = {name: set(allowed.split()) for name, allowed in MAY_IMPORT.items()}
    for name, allowed in places.items():  # the rules themselves run one way
        assert allowed <= rooms
        assert not any(name in places[other] for other in allowed), name


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room):
    allowed = {room, *MAY_IMPORT[room].split()}
    for path in (path for path in sources() if room_of(path) == room):
        for file in files_imported(path):
            assert room_of(file) in allowed, f"{path.relative_to(PACKAGE)} imports {file.relative_to(PACKAGE)}"


def test_no_files_import_each_other_in_a_circle():
    done: set[Path] = set()

    def walk(path: Path, way: tuple[Path, ...]) -> None:
        assert path not in way, " -> ".join(str(step.relative_to(PACKAGE)) for step in (*way, path))
        if path not in done:
            for file in sorted(files_imported(path)):
                walk(file, (*way, path))
            done.add(path)

    for path in sources():
        if path.name != "__init__.py":  # the face of a package names its files, which may use one another
            walk(path, ())


def test_each_library_stays_in_its_rooms():
    for path in sources():
        roots = {name.split(".")[0] for name in imported(path)}
        room = room_of(path)
        if room in BELOW_TRAINING:
            assert not roots & {"lightning", "pytorch_lightning"}, path
        if room not in HYDRA:
            assert "hydra" not in roots, path


@pytest.mark.parametrize("room", ["kernels", "attention"])
def test_kernels_and_mixers_need_torch_alone(room):
    optional = {"triton", "natten", "xformers", "timm"} if room == "kernels" else set()
    for path in sources(room):
        for name in imported(path):
            assert name.split(".")[0] not in {"timm", "torchvision", "lightning", "hydra"} - optional, (
                f"{path} imports {name}"
            )


def test_partition_roll_and_unfold_stand_in_the_kernels_alone():
    wanted = re.compile(r"torch\.roll\(|\.roll\(|\.unfold\(|F\.unfold\(|window_partition|window_reverse")
    for path in sources():
        if room_of(path) not in ("kernels", "benchmarks", "data"):  # other formulations to measure; pixels of images
            assert not wanted.search(path.read_text(encoding="utf-8")), path


def test_nothing_depends_on_the_links_at_the_root():
    for path in sources():
        assert not imported(path) & {"backbones", "heads", "conf", "kernels"}, path


def test_no_model_is_asked_for_by_name():
    files = (PACKAGE / "conf" / "backbone").glob("*.yaml")
    names = [file.stem for file in files if file.stem not in ("base", "timm") and not file.stem.startswith("_")]
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                constants = [c.value for c in [node.left, *node.comparators] if isinstance(c, ast.Constant)]
                assert not set(map(str, constants)) & set(names), f"{path}:{node.lineno}"


def test_files_stay_readable():
    for path in sources():
        assert path.read_text(encoding="utf-8").count("\n") <= 300, path


def test_the_suite_mirrors_the_rooms():
    tests = Path(__file__).parent
    # what many rooms keep together
    beside = {"contracts", "parity", "recorded", "examples", "gpu", "conf", "corpus", "browser", "pages"}
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    mirrored = {folder.name for folder in tests.iterdir() if (folder / "__init__.py").is_file()}
    assert mirrored - beside == rooms - beside
    for room in ("data", "tasks"):  # one folder per task, of the same names
        columns = {folder.name for folder in (PACKAGE / room).iterdir() if (folder / "__init__.py").is_file()}
        assert {folder.name for folder in (tests / room).iterdir() if (folder / "__init__.py").is_file()} == columns
        assert {"classification", "detection", "segmentation", "panoptic"} <= columns


def test_functions_and_constructors_stay_small():
    long, wide = [], []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
                is_kernel = any(ast.unparse(one) == "triton.jit" for one in node.decorator_list)  # cannot be divided
                if (node.end_lineno or 0) - node.lineno >= (90 if is_kernel else 40):
                    long.append(where)
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if node.name == "__init__" and len(arguments) - 1 > 12:
                    wide.append(where)
    assert len(long) < 3, long
    assert not wide
