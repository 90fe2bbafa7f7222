"""What is said about an error that nobody foresaw: one sentence, and the file that holds its traceback."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator

_SYSTEM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system can only be read",
    errno.EACCES: "there is no permission",
    errno.EPERM: "there is no permission",
    errno.ENOTDIR: "a folder of the path is a file",
    errno.EEXIST: "a file has the name of the folder",
    errno.ENAMETOOLONG: "a name is too long for the file system",
    errno.EMFILE: "too many files are open (ulimit -n)",
}


def report(error: Exception) -> None:
    """Print the sentence; with HYDRA_FULL_ERROR=1 the traceback too, else the file that it is written to."""
    known = system_error(error)
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    elif known is None:
        print(f"visionattn: {unexpected(error)}", file=sys.stderr)
        return
    text = known or f"unexpected error: {_named(error)}"
    print(f"visionattn: {text}", file=sys.stderr)


def unexpected(error: BaseException) -> str:
    """The sentence for an error that is a fault of the program or of a module of the user's own."""
    where = f" at the config key {key}" if (key := getattr(error, "config_key", "")) else ""
    return (
        f"unexpected error{where}: {_named(error)}; the traceback is in {_written(error)}, "
        "HYDRA_FULL_ERROR=1 prints it here"
    )


def system_error(error: BaseException) -> str | None:
    """The sentence for a full disk, a missing permission and the like, wherever in the chain of causes it stands."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _SYSTEM:
            file = f": cannot write or read {one.filename}" if one.filename else ""
            return f"{_SYSTEM[one.errno]}{file}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _named(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _written(error: BaseException) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="visionattn-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return "no file (none could be written)"
    return file.name
