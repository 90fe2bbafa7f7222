"""Text files as people save them: UTF-8 or UTF-16, with or without a byte order mark."""

from __future__ import annotations


def decoded(data: bytes, errors: str = "strict") -> str:
    """The text of a file's bytes; UTF-16 is known by its byte order mark.

    Args:
        data: the bytes, from the file's beginning.
        errors: what becomes of bytes that are no text, as in ``bytes.decode``.

    Raises:
        UnicodeDecodeError: they are no text, and ``errors`` is ``strict``.
    """
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors)
