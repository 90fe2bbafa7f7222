"""For mkdocs: files from outside of docs/ that its pages link to.

``CONTRIBUTING.md`` becomes the page development.md and ``CHANGELOG.md`` changes.md; code becomes a page below code/;
measured figures are copied. A page keeps the links that work in the repository: ``../examples/x.py`` there is
``code/examples/x.md`` of the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"CONTRIBUTING.md": "development.md", "CHANGELOG.md": "changes.md"}
OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")
CODE = """---
search: {{exclude: true}}
---

# {name}

````python
{text}````
"""


def address(name: str) -> str:
    """Where a file of the repository is on the site."""
    return PAGES.get(name, f"code/{name.removesuffix('.py')}.md" if name.endswith(".py") else name)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the two pages, and every file that a page of docs/ links to with ``../``."""
    linked = set()
    for page in Path(config.docs_dir).glob("*.md"):
        linked |= set(OUTSIDE.findall(page.read_text(encoding="utf-8")))
    for name in sorted(linked | set(PAGES)):
        if not (ROOT / name).is_file():
            continue  # what is not there stays a broken link, which mkdocs reports
        if name in PAGES:
            content = (ROOT / name).read_text(encoding="utf-8")
        elif name.endswith(".py"):
            content = CODE.format(name=name, text=(ROOT / name).read_text(encoding="utf-8"))
        else:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
            continue
        files.append(File.generated(config, address(name), content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Make links out of docs/ links within the site, and those of the two pages into docs/ too."""
    if page.file.src_uri in PAGES.values():
        return markdown.replace("](docs/", "](")
    if "/" in page.file.src_uri:  # below docs/, where ../ leads to docs/ itself
        return markdown
    return OUTSIDE.sub(lambda found: "](" + address(found[1]), markdown)
