"""The errors a person is meant to read: one sentence that says what is wrong and what to do.

The command line prints them without a traceback. Everything else that goes wrong is a bug and keeps its traceback.
"""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches


class VisionAttnError(Exception):
    """Something the user can mend: a path, an option, a file.

    Attributes:
        leaves_files: whether what the command wrote is complete, though the command failed.
        details: lines of a list of which the sentence has the first; the command prints them with HYDRA_FULL_ERROR=1.
    """

    leaves_files = False
    details: Sequence[str] = ()


class ConfigError(VisionAttnError):
    """A configuration that cannot be composed, is not allowed, or does not build."""


class DataError(VisionAttnError):
    """Data that are missing, in another layout than expected, or inconsistent."""


class UnreadableImagesError(DataError):
    """More images were unreadable than the budget allows."""


class NonFiniteLossError(VisionAttnError):
    """The loss became infinite or NaN; raised on every process before the weights change."""


class CheckpointError(VisionAttnError):
    """A checkpoint that is missing, unsafe to read, or made for another model."""


class WriteError(VisionAttnError):
    """A file of a run that cannot be written: the disk is full, or it may not be written to."""


class Interrupted(VisionAttnError):
    """The run was asked to stop by a signal; its state is saved.

    Attributes:
        code: exit code of the command: 143, or 130 for Ctrl-C.
    """

    code = 143
    leaves_files = True


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; what ends in order at Ctrl-C ends in order at this."""


class OutOfMemoryError(VisionAttnError):
    """A batch does not fit into memory; says which would."""


def interruption(error: BaseException) -> tuple[str, int] | None:
    """What ended a command, in words and as its exit code, where it was Ctrl-C or SIGTERM.

    Lightning turns both into an exit.
    """
    for cause in (error, error.__context__):
        if isinstance(cause, Terminated):
            return "ended by SIGTERM", 143
        if isinstance(cause, KeyboardInterrupt):
            return "interrupted", 130
    return None


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, such as ``1 epoch`` or ``2 epochs``; ``plural`` where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def near_names(word: str, known: Iterable[str], number: int = 1, cutoff: float = 0.6) -> list[str]:
    """The names that a misspelled word is nearest to, the nearest first.

    Args:
        word: as typed.
        known: the names that there are.
        number: names at most.
        cutoff: likeness that a name needs, from 0 (nothing in common) to 1 (equal); see ``difflib``.
    """
    return get_close_matches(word, list(dict.fromkeys(known)), number, cutoff)


def did_you_mean(
    word: str, known: Iterable[str], number: int = 1, cutoff: float = 0.6, shown: Callable[[str], object] = str
) -> str:
    """The end of a sentence, ``; did you mean x?``, or nothing where no name is near.

    Args:
        word: as typed.
        known: the names that there are.
        number: names at most.
        cutoff: see ``near_names``.
        shown: what stands for a name in the sentence.
    """
    close = near_names(word, known, number, cutoff)
    return f"; did you mean {' or '.join(str(shown(name)) for name in close)}?" if close else ""
