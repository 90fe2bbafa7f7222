"""Print the files of tests that a change is likely to break, one a line: a minute or two in place of the whole suite.

usage: python scripts/affected.py [BASE]; BASE (default: HEAD) is what the branch left, the change may be uncommitted.

Those are the tests that have changed, or use helpers that have; those of the room (``tests/`` mirrors the package);
those that import a changed file, or a name that it defines; and those that quote three words in a row that are no
longer there. What a command does through all rooms, and values in YAML, the whole suite alone tells.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ALWAYS = ("tests/test_structure.py", "tests/test_shapes.py")
PHRASE = 3
WORD = re.compile(r"[A-Za-z]{2,}|[0-9]+")


class Change:
    """What differs between a commit and the working tree of a checkout.

    Args:
        root: the checkout.
        base: a commit, or a branch that the checkout's one has left.
    """

    def __init__(self, root: Path, base: str):
        self.root = root
        self.base = self._git("merge-base", base, "HEAD").strip()
        new = self._git("ls-files", "--others", "--exclude-standard")
        self.files = sorted(
            {*self._git("diff", "--name-only", "--no-renames", self.base).splitlines(), *new.splitlines()}
        )

    def tests(self) -> list[str]:
        """The files of tests, with those that always run."""
        texts = {path: path.read_text(encoding="utf-8") for path in sorted((self.root / "tests").rglob("*.py"))}
        modules = {module_of(path.relative_to(self.root)): path for path in texts}
        names, gone = self._names(), self._gone()
        chosen = {self.root / name for name in ALWAYS} | set(self._rooms())
        chosen |= {path for path in texts if path.relative_to(self.root).as_posix() in self.files}
        chosen |= {path for path, text in texts.items() if gone & phrases(path.suffix, text)}
        uses = {path: imported(text) for path, text in texts.items()}
        chosen |= {path for path, found in uses.items() if any(within(one, names) for one in found)}
        below = {self.root / name for name in self.files if name.endswith("conftest.py")}
        chosen |= {path for path in texts if {one.parent for one in below} & set(path.parents)}
        helpers = {path for path in chosen if not path.name.startswith("test_")}
        while helpers:  # whoever imports them is affected as well
            wanted = {name for name, path in modules.items() if path in helpers}
            more = {path for path, found in uses.items() if any(within(one, wanted) for one in found)} - chosen
            helpers = {path for path in more if not path.name.startswith("test_")}
            chosen |= more
        found = {path.relative_to(self.root) for path in chosen if path.name.startswith("test_") and path.is_file()}
        return sorted(path.as_posix() for path in found if path.parts[1] not in ("gpu", "browser"))

    def _rooms(self) -> Iterator[Path]:
        """The tests in the folder that mirrors that of each changed file, or the nearest one above it."""
        for name in map(Path, self.files):
            if name.parts[0] != "visionattn":
                continue
            place = Path("tests", *name.parent.parts[1:])
            while not (self.root / place).is_dir():
                place = place.parent
            alone = place == Path("tests")  # a file beside the rooms
            yield from (self.root / place).glob(f"test_{name.stem}.py" if alone else "test_*.py")

    def _names(self) -> set[str]:
        """The modules of changed files, and what they define under the names of all packages around them."""
        names = set()
        for name in (name for name in self.files if name.endswith(".py")):
            module = module_of(Path(name))
            names.add(module)
            packages = [module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)]
            for text in (self._before(name), self._now(name)):
                defined = (ast.ClassDef, ast.FunctionDef)
                found = [node.name for node in ast.parse(text).body if isinstance(node, defined)]
                names |= {f"{package}.{one}" for package in packages for one in found}
        return names

    def _gone(self) -> set[tuple[str, ...]]:
        gone = set()
        for name in (name for name in self.files if not name.startswith(("tests/", "benchmarks/results/"))):
            ending = Path(name).suffix
            gone |= phrases(ending, self._before(name)) - phrases(ending, self._now(name))
        return gone

    def _before(self, name: str) -> str:
        return self._git("show", f"{self.base}:{name}", missing="")

    def _now(self, name: str) -> str:
        path = self.root / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def _git(self, *words: str, missing: str | None = None) -> str:
        done = subprocess.run(["git", *words], cwd=self.root, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode and missing is None:
            sys.exit(f"git {' '.join(words)}: {done.stderr.strip()}")
        return missing or "" if done.returncode else done.stdout


def module_of(path: Path) -> str:
    """The dotted name of a file of Python."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def within(name: str, names: set[str]) -> bool:
    """Whether a dotted name is one of these, or stands in one of them."""
    return name in names or any(name[:at] in names for at, letter in enumerate(name) if letter == ".")


@cache
def imported(text: str) -> frozenset[str]:
    """Dotted names that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def phrases(ending: str, text: str) -> set[tuple[str, ...]]:
    """Every three words in a row: of the strings of a file of Python, of the lines of any other."""
    parts = [text]
    if ending == ".py":
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        parts = [node.value for node in nodes if isinstance(node.value, str)]
    found = set()
    for words in (WORD.findall(part) for part in parts):
        found |= set(zip(*(words[start:] for start in range(PHRASE)), strict=False))
    return found


if __name__ == "__main__":
    print("\n".join(Change(Path(__file__).resolve().parent.parent, *(sys.argv[1:2] or ["HEAD"])).tests()))
