"""Annotation files as text: with or without a byte order mark, in UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionattn.errors import DataError

COCO_LISTS = ("images", "annotations", "categories")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(data: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, without its byte order mark.

    Raises:
        UnicodeDecodeError: it is in another encoding.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    return data.decode(json.detect_encoding(data))


def read_json(path: Path, lists: Sequence[str] = COCO_LISTS) -> dict[str, Any]:
    """Read an annotation file.

    Args:
        path: the file.
        lists: keys that must hold lists.

    Raises:
        DataError: missing, no JSON, or without one of the lists.
    """
    try:
        content = json.loads(read_text(path.read_bytes()))
    except OSError as error:
        raise DataError(f"the annotations {path} cannot be read: {error.strerror or error}") from error
    except RecursionError:
        raise DataError(f"the annotations {path} are not valid JSON: lists are nested too deeply") from None
    except ValueError as error:
        raise DataError(f"the annotations {path} are not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} is not a COCO annotation file: it holds a {type(content).__name__}, expected an object"
        )
    missing = [key for key in lists if not isinstance(content.get(key), list)]
    if missing:
        raise DataError(f"{path} is not a COCO annotation file: missing {', '.join(missing)}")
    return content
