"""A user's own images: found by what a person writes, and each with a name of its own."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from visionattn.data.download import SCHEMES, download
from visionattn.data.names import EXTENSIONS
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError, counted
from visionattn.files import near_file

LISTS = (".txt", ".lst", ".csv")
"""Endings of files that list images, one path or address a line; of a table the first column counts."""
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_LARGEST_LIST = 200 * 2**20


@dataclass(frozen=True)
class UserImage:
    """One image, not read yet.

    Attributes:
        name: different for every image: its path below the folder that all have in common, or its address without
            ``http://``; usable as a path.
        origin: the path or address as a person would write it.
        read: gives the content of the file.
    """

    name: str
    origin: str
    read: Callable[[], bytes]


def find_images(
    sources: str | float | Sequence[str],
    *,
    recursive: bool = True,
    without: Path | None = None,
    timeout: float = 10,
    megabytes: float = 100,
) -> list[UserImage]:
    """The images at a source, in order, each once.

    A source is an image, a folder, a pattern (``photos/*.jpg``, ``**`` for folders at any depth), a list file
    (:data:`LISTS`) or the address of an image on a web server. Of folders and patterns only files with the ending of an
    image are taken, and nothing hidden (whose name begins with a dot). What is named by itself is taken whatever its
    ending.

    Args:
        sources: one or several.
        recursive: look into the folders of a folder too.
        without: a folder whose files are left out.
        timeout: seconds for one image of a web server.
        megabytes: size of such an image at most.

    Raises:
        DataError: a source is nothing of all this, or holds no image.
    """
    given = list(sources) if isinstance(sources, Sequence) and not isinstance(sources, str) else [str(sources)]
    if not given or not all(str(source).strip() for source in given):
        raise DataError("source is empty: name an image, a folder, a pattern, a list file or an address")
    found = [origin for source in given for origin in _expanded(str(source).strip(), recursive)]
    found = list(dict.fromkeys(found))
    if without is not None:
        inside = without.resolve()
        found = [origin for origin in found if is_address(origin) or inside not in Path(origin).resolve().parents]
    if not found:
        raise DataError(f"source={', '.join(map(str, given))} holds no image")
    fetch = partial(download, timeout=timeout, megabytes=megabytes)
    return [
        UserImage(name, origin, partial(fetch, origin) if is_address(origin) else partial(_content, origin))
        for name, origin in zip(_names(found), found, strict=True)
    ]


def _content(path: str) -> bytes:
    """The content of a file.

    Raises:
        UnreadableImage: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadableImage("the file was not found") from None
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from None


def is_address(origin: str) -> bool:
    """Whether a text is the address of an image on a web server."""
    return origin.lower().startswith(SCHEMES)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _expanded(source: str, recursive: bool) -> list[str]:
    """Paths and addresses behind one source.

    Raises:
        DataError: see :func:`find_images`.
    """
    if is_address(source):
        return [source]
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _of_folder(path, recursive)
        if path.is_file() and path.suffix.lower() in _VIDEOS:
            raise DataError(f"source={source} is a video, of which no frames are read: write them as images first")
        if path.is_file():
            return _of_list(path) if path.suffix.lower() in LISTS else [str(path)]
    except (OSError, ValueError) as error:
        raise DataError(f"source={source} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if glob.has_magic(source):
        return _of_pattern(str(path))
    raise DataError(
        f"source={source} was not found{near_file(path)}; a source is an image, a folder, a pattern such as "
        f"'photos/*.jpg', a list file ({', '.join(LISTS)}) or an address (http://...); cameras and videos are not read"
    )


def _of_folder(folder: Path, recursive: bool) -> list[str]:
    paths, others = [], 0
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(files):
            path = Path(base, name)
            if _is_image(path) and not name.startswith("."):
                paths.append(str(path))
            else:
                others += 1
    if not paths:
        endings = " ".join(sorted(EXTENSIONS))
        held = f"{counted(others, 'other file')}, none" if others else "no file"
        deeper = "" if recursive else "; recursive=true looks into its folders too"
        raise DataError(f"source={folder} holds {held} with the ending of an image ({endings}){deeper}")
    return sorted(paths)


def _of_pattern(pattern: str) -> list[str]:
    matches = sorted(glob.glob(pattern, recursive=True))
    paths = [path for path in matches if _is_image(Path(path)) and os.path.isfile(path)]
    if not paths:
        what = "nothing" if not matches else f"{counted(len(matches), 'name')}, none an image file"
        raise DataError(f"source={pattern} matches {what} (seen from {Path.cwd()})")
    return paths


def _of_list(file: Path) -> list[str]:
    """The lines of a list; paths are relative to the folder of the list, or else to the current one."""
    if file.stat().st_size > _LARGEST_LIST:
        raise DataError(f"source={file} is no list of images: it has more than {_LARGEST_LIST >> 20} MB")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"source={file} is no list of images in UTF-8: {error.reason} at byte {error.start}") from None
    lines = (line.strip() for line in text.splitlines())
    entries = [line for line in lines if line and not line.startswith("#")]
    if file.suffix.lower() == ".csv":
        cells = [entry.split(",")[0].strip().strip('"') for entry in entries]
        entries = [cell for cell in cells if is_address(cell) or _is_image(Path(cell))]  # a header is none
    if not entries:
        raise DataError(f"source={file} lists no image; each line is the path or address of one")
    return [entry if is_address(entry) else _located(entry, file.parent) for entry in entries]


def _located(entry: str, folder: Path) -> str:
    path = Path(entry).expanduser()
    beside = folder / path
    return str(path if path.is_absolute() or (not os.path.exists(beside) and os.path.exists(path)) else beside)


def _names(origins: Sequence[str]) -> list[str]:
    """A name for each origin, all different also where upper and lower case are the same."""
    local = [os.path.abspath(origin) for origin in origins if not is_address(origin)]
    base = os.path.commonpath([os.path.dirname(path) for path in local]) if local else ""
    taken: set[str] = set()
    return [_unique(_address_name(one) if is_address(one) else _below(one, base), taken) for one in origins]


def _below(path: str, base: str) -> str:
    return Path(os.path.relpath(os.path.abspath(path), base)).as_posix()


def _address_name(url: str) -> str:
    """The address as a path: host and port, then the path without what leads out of it, then the query."""
    address, _, query = url.partition("//")[2].partition("?")
    host, *steps = address.split("/")
    steps = [step for step in steps if step not in ("", "..", ".")] or ["image"]
    last = _plain(f"{steps[-1]}{f'_{query}' if query else ''}")[-150:]
    return "/".join([_plain(host), *map(_plain, steps[:-1]), last])


def _plain(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in text).lstrip(".") or "_"


def _unique(name: str, taken: set[str]) -> str:
    path, number, unique = PurePosixPath(name), 1, name
    while unique.casefold() in taken:
        number += 1
        unique = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
    taken.add(unique.casefold())
    return unique
