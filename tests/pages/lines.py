"""The commands that a page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BEGIN = re.compile(r"^(\$ |OMP_NUM_THREADS=1 |srun |torchrun .* -m )*(?=visionattn |python examples/)")


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block of code of a page."""
    path = ROOT / "README.md" if page == "README" else ROOT / "docs" / f"{page}.md"
    return FENCE.findall(path.read_text(encoding="utf-8"))


def commands(page: str) -> list[str]:
    """What a shell would run of a page, in its order, without comments and without what starts several processes."""
    lines = [line for _, text in blocks(page) for line in text.replace("\\\n", " ").splitlines()]
    return [shlex.join(shlex.split(BEGIN.sub("", line), comments=True)) for line in lines if BEGIN.match(line)]


def pages() -> set[str]:
    """Pages with commands."""
    names = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"README"}
    return {name for name in names if commands(name)}


def own_files(page: str, folder: Path) -> None:
    """Write the files that a page shows: blocks whose first line is a comment with a path."""
    for language, text in blocks(page):
        if language in ("python", "yaml") and re.match(r"# my_\w+/", text):
            path = folder / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
