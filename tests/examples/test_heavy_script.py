"""``scripts/heavy.py``: a break costs one file, a second start runs what has not passed on the same sources."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "heavy.py"
FILES = {
    "tests/test_a.py": "def test_a(): assert True",
    "tests/test_b.py": "def test_b(): assert False",
    "tests/test_c.py": "import os\ndef test_c(): os._exit(3)",
}
PROJECT = '[tool.pytest.ini_options]\naddopts = "-q"\nmarkers = ["heavy: long"]\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with three files of heavy tests: one passes, one fails, one ends the whole process."""
    for name, text in FILES.items():
        write(tmp_path / name, text)
    write(tmp_path / "tests/test_light.py", "def test_light(): assert False")
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / ".gitignore").write_text("/outputs/\n__pycache__/\n", encoding="utf-8")
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    mark = "" if "light" in path.name else "import pytest\npytestmark = pytest.mark.heavy\n"
    path.write_text(f"{mark}{text}\n", encoding="utf-8")


def command(checkout: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(checkout / "scripts/heavy.py"), *arguments]


def heavy(checkout: Path, *arguments: str) -> tuple[int, list[str]]:
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command(checkout, *arguments), env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def table(lines: list[str]) -> dict[str, str]:
    """Result by file, from the table at the end."""
    return {words[3]: words[0] for words in map(str.split, lines[lines.index("") :]) if words[2:3] == ["s"]}


def test_a_break_costs_one_file_and_a_second_start_runs_what_has_not_passed(checkout):
    status, lines = heavy(checkout)
    assert status == 1
    assert table(lines) == {"tests/test_a.py": "passed", "tests/test_b.py": "failed", "tests/test_c.py": "broke"}
    assert lines[-1] == "1 of 3 files passed"

    (checkout / "tests/test_b.py").write_text("", encoding="utf-8")
    (checkout / "tests/test_c.py").write_text("", encoding="utf-8")
    status, lines = heavy(checkout, "--processes", "1")
    assert status == 0
    assert lines[0].startswith("1 files, 0 passed before")

    status, lines = heavy(checkout)
    assert status == 0
    assert lines[0].startswith("1 files, 1 passed before")
    assert table(lines) == {"tests/test_a.py": "passed"}


def test_a_file_over_the_limit_is_ended(checkout):
    write(checkout / "tests/test_b.py", "import time\ndef test_b(): time.sleep(60)")
    status, lines = heavy(checkout, "tests/test_b.py", "--limit", "0.7")
    assert status == 1
    assert table(lines) == {"tests/test_b.py": "timeout"}


def test_an_interruption_names_what_was_not_reached_and_leaves_no_process(checkout):
    begun = checkout / "outputs/begun"
    slow = f"import os, pathlib, time\ndef test_b():\n  pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\n"
    write(checkout / "tests/test_b.py", f"{slow}  time.sleep(60)")
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    names = ["tests/test_a.py", "tests/test_b.py", "--processes", "1"]
    process = subprocess.Popen(command(checkout, *names), env=environment, stdout=subprocess.PIPE, text=True)
    while not (begun.exists() and begun.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    lines = process.communicate(timeout=30)[0].splitlines()
    assert process.returncode == 1
    assert lines[-1] == "1 of 2 files passed"
    assert "not reached         tests/test_b.py" in lines
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tests/test_light.py"], "no heavy tests in tests/test_light.py"),
        (["-k", "nothing"], "no heavy tests in tests that match 'nothing'"),
        (["--processes", "0"], "--processes must be at least 1, not 0"),
    ],
)
def test_what_cannot_run_is_said_in_a_sentence(checkout, arguments, sentence):
    status, lines = heavy(checkout, *arguments)
    assert status != 0
    assert sentence in lines[-1]
