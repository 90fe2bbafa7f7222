"""For mkdocs: files from outside of docs/ that its pages link to, under the addresses that the links have there.

``CONTRIBUTING.md`` becomes the page development.md and ``CHANGELOG.md`` changes.md; examples and measured figures are
copied. A page keeps the links that work in the repository: ``../examples/x.py`` here is ``examples/x.py`` of the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"CONTRIBUTING.md": "development.md", "CHANGELOG.md": "changes.md"}
OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the two pages, and every file that a page links to with ``../``."""
    linked = set()
    for page in Path(config.docs_dir).rglob("*.md"):
        linked |= set(OUTSIDE.findall(page.read_text(encoding="utf-8")))
    for name in sorted(linked - set(PAGES)):
        if (ROOT / name).is_file():  # what is not there stays a broken link, which mkdocs reports
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Make links out of docs/ links within the site, and those of the two pages into docs/ too."""
    if page.file.src_uri in PAGES.values():
        return markdown.replace("](docs/", "](")
    return OUTSIDE.sub(lambda found: "](" + PAGES.get(found[1], found[1]), markdown)
