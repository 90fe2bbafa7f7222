"""``scripts/affected.py``: which files of tests a change is likely to break."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from affected import ALWAYS, Change  # noqa: E402

sys.path.pop(0)
FILES = {
    "visionattn/__init__.py": "",
    "visionattn/files.py": "def write(): pass",
    "visionattn/data/boxes/read.py": "def boxes():\n    raise ValueError('the file holds no boxes at all')",
    "visionattn/conf/data/coco.yaml": "# boxes of eighty classes\nroot: coco",
    "tests/test_structure.py": "",
    "tests/test_shapes.py": "",
    "tests/test_files.py": "from visionattn.files import write",
    "tests/conf/test_conf.py": "",
    "tests/data/conftest.py": "import pytest",
    "tests/data/test_module.py": "",
    "tests/data/boxes/test_read.py": "",
    "tests/commands/runs.py": "from visionattn.data import boxes",
    "tests/commands/test_train.py": "from tests.commands.runs import anything",
    "tests/commands/test_errors.py": "SAID = f'(?i)file holds no .*boxes'\nMORE = r'raised: file holds no boxes'",
    "tests/commands/test_other.py": "from visionattn.data import masks",
    "tests/gpu/test_card.py": "from visionattn.data.boxes.read import boxes",
}
SAID = "the file holds no boxes at all"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n", encoding="utf-8")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=root, check=True)
    return root


@pytest.mark.parametrize(
    ("changed", "text", "expected"),
    [
        ("visionattn/files.py", "def write(): return 1", ["test_files.py"]),
        (
            "visionattn/data/boxes/read.py",
            f"def boxes(): return '{SAID}'",
            ["data/boxes/test_read.py", "commands/test_train.py"],
        ),
        (
            "visionattn/data/boxes/read.py",
            "def boxes():\n    raise ValueError('no boxes')",
            ["data/boxes/test_read.py", "commands/test_train.py", "commands/test_errors.py"],
        ),
        ("visionattn/data/new.py", "", ["data/test_module.py"]),
        ("visionattn/conf/data/coco.yaml", "# boxes of eighty classes\nroot: other", ["conf/test_conf.py"]),
        ("tests/commands/test_other.py", "", ["commands/test_other.py"]),
        ("tests/commands/runs.py", "", ["commands/test_train.py"]),
        ("tests/data/conftest.py", "", ["data/test_module.py", "data/boxes/test_read.py"]),
        ("docs/page.md", "words", []),
    ],
)
def test_what_a_change_is_likely_to_break(checkout, changed, text, expected):
    path = checkout / changed
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        assert Change(checkout, "HEAD").tests() == sorted({*ALWAYS, *(f"tests/{name}" for name in expected)})
    finally:
        path.write_text(FILES[changed] + "\n", encoding="utf-8") if changed in FILES else path.unlink()


def test_a_base_that_is_not_there_is_said(checkout):
    with pytest.raises(SystemExit, match="git merge-base nowhere HEAD"):
        Change(checkout, "nowhere")
