"""The files of ``visionattn predict``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from visionattn.data.user_images import UserImage
from visionattn.drawing.canvas import sheet_of
from visionattn.errors import DataError
from visionattn.tasks.predict import Predicted, write_json, write_table

_ON_SHEET, _SHEETS, _COLUMNS, _EDGE = 48, 10, 8, 200


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A context in which files are written.

    Raises:
        DataError: one cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None


@dataclass
class Output:
    """What is written for the images one by one, and kept for the files at the end.

    Attributes:
        folder: made with the first image.
        records: entries of ``predictions.json``.
        rows: rows of ``predictions.csv``.
        counts: class -> how often it was predicted.
        sheets: files of the sheets of thumbnails.
    """

    folder: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sheets: list[Path] = field(default_factory=list)
    _tiles: list[tuple[Image.Image, str]] = field(default_factory=list)

    def add(self, image: UserImage, size: tuple[int, int], predicted: Predicted) -> None:
        """Write the drawing and the maps of one image."""
        files = {}
        if predicted.caption:
            self._place(image, predicted)
        else:
            files["drawing"] = self._save("drawings", image, predicted.draw())
        files |= {kind: self._save(kind, image, drawn) for kind, drawn in predicted.maps.items()}
        record = {"image": image.name, "source": image.origin, "size": list(size), **predicted.record, "files": files}
        self.records.append(record)
        self.rows += [(image.name, row) for row in predicted.rows]
        self.counts += predicted.counts

    def finish(self, model: str, unreadable: list[tuple[UserImage, str]]) -> dict[str, Path]:
        """Write the files of all images; description -> file."""
        self._save_sheet()
        files = {"drawings": self.folder / "drawings"} if (self.folder / "drawings").is_dir() else {}
        if self.sheets:
            files["sheets of thumbnails" if len(self.sheets) > 1 else "sheet of thumbnails"] = self.sheets[0]
        files |= {"table": self.folder / "predictions.csv", "all predictions": self.folder / "predictions.json"}
        left_out = [{"image": image.name, "source": image.origin, "reason": reason} for image, reason in unreadable]
        contents = {"checkpoint": model, "images": self.records, "unreadable": left_out}
        write_json(files["all predictions"], contents)
        write_table(files["table"], self.rows)
        return files

    def _save(self, kind: str, image: UserImage, drawn: Image.Image) -> str:
        """Save a PNG; the old suffix stays in its name, so that ``a.jpg`` and ``a.png`` do not meet."""
        name = f"{kind}/{image.name}.png"
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        drawn.save(file, compress_level=2)  # the usual 6 takes longer than most models
        return name

    def _place(self, image: UserImage, predicted: Predicted) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if len(self.sheets) < _SHEETS:
            self._tiles.append((predicted.draw(), f"{predicted.caption}\n{image.name.rpartition('/')[2]}"))
            if len(self._tiles) == _ON_SHEET:
                self._save_sheet()

    def _save_sheet(self) -> None:
        if self._tiles:
            file = self.folder / ("sheet.png" if not self.sheets else f"sheet_{len(self.sheets) + 1}.png")
            sheet_of(self._tiles, columns=_COLUMNS, edge=_EDGE).save(file)
            self.sheets.append(file)
            self._tiles = []
