"""For mkdocs: the notebooks of docs/, executed while the site is built, become pages with what they printed and drew.

The files in the repository hold no output. A cell that fails ends the build with its error.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

SECONDS = 1800
"""That a cell may take."""
COLUMNS = "80"
"""That a page shows of a line."""
SETTINGS = {"COLUMNS": COLUMNS, "JUPYTER_COLUMNS": COLUMNS, "PYTHONWARNINGS": "ignore:IProgress not found"}


@cache
def executed(text: str, name: str) -> tuple[str, dict[str, bytes]]:
    """The page of a notebook and its pictures by file name; it runs in a folder of its own."""
    program = str(Path(sys.executable).parent)  # where the command visionattn is
    os.environ |= {**SETTINGS, "PATH": os.pathsep.join((program, os.environ["PATH"]))}
    notebook = nbformat.reads(text, as_version=4)
    with TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=place).execute()
    return page_of(notebook, name)


def page_of(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """An executed notebook as Markdown: what a cell prints is one block of text, whatever the stream or the form."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [as_text(output) for output in cell.outputs]
    exporter = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor(enabled=True)])
    resources = {"unique_key": name, "output_files_dir": f"{name}_files"}
    page, found = exporter.from_notebook_node(notebook, resources)
    return page.replace("![png](", "![what the cell shows]("), dict(found["outputs"])


def as_text(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output as one of standard output, without colors, or as a PNG where it is a picture."""
    data = output.get("data", {})
    if "image/png" in data:
        output.data = nbformat.NotebookNode({"image/png": data["image/png"]})
        return output
    text = output.get("text") or data.get("text/plain", "")
    return nbformat.v4.new_output("stream", name="stdout", text=strip_ansi(text))


def on_files(files: Files, *, config: Any) -> Files:
    """Add a page and its pictures for each notebook; the notebook itself stays, to be downloaded."""
    notebooks = {file.src_uri: Path(file.abs_src_path) for file in files if file.src_uri.endswith(".ipynb")}
    for address, path in notebooks.items():
        page, pictures = executed(path.read_text(encoding="utf-8"), path.stem)
        title, _, rest = page.lstrip().partition("\n")
        page = f"{title}\n\n[This page as a notebook]({address}){{ download }}\n{rest}"
        files.append(File.generated(config, f"{path.stem}.md", content=page))
        for name, content in pictures.items():
            files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to notebooks lead to their pages, except where a notebook is to be downloaded."""
    return re.sub(r"\]\((\w+)\.ipynb\)(?!\{)", r"](\1.md)", markdown)
