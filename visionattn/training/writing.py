"""One sentence about a file that cannot be written, in place of the system's error or torch's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionattn.errors import VisionAttnError, WriteError

_OF_RUST = re.compile(r"\(os error (\d+)\)")
_GO_ON = (
    "what was written before is whole. Make room (or choose another hydra.run.dir), then the same command with "
    "resume=auto continues the run"
)


@contextmanager
def writing(path: Path, advice: str = _GO_ON) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like inside the block into an error that says what to do.

    Args:
        path: what is written.
        advice: what is left, and what to do.

    Raises:
        WriteError: instead of the system's error, also where torch or safetensors has hidden it behind one of its own.
    """
    try:
        yield
    except VisionAttnError:
        raise
    except Exception as error:
        cause = _system_error(error)
        if cause is None:
            raise
        raise WriteError(f"cannot write {path}: {cause.strerror or cause}; {advice}") from error


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind one.

    torch's writer raises its own while that one is being handled; libraries in Rust only tell its number.
    """
    while error is not None:
        if isinstance(error, OSError):
            return error
        if number := _OF_RUST.search(str(error)):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__cause__ or error.__context__
    return None
