"""Images of a web server: read into memory with limits, and never more than their bytes."""

from __future__ import annotations

import http.client
import time
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from visionattn.data.unreadable import UnreadableImage

SCHEMES = ("http://", "https://")
_PIECE = 1 << 16
_TEXT = ("text/", "application/json", "application/xhtml", "application/xml")


def download(url: str, *, timeout: float, megabytes: float) -> bytes:
    """The content behind an address.

    Only ``http`` and ``https`` are spoken, also where an address leads to another one.

    Args:
        url: the address.
        timeout: seconds for everything together.
        megabytes: the largest content.

    Raises:
        UnreadableImage: the server cannot be reached, takes too long, refuses, or answers with a text or with more.
    """
    end = time.monotonic() + timeout
    try:
        request = Request(url, headers={"User-Agent": "visionattn", "Accept": "image/*"})
        with _opener().open(request, timeout=timeout) as answer:
            kind = answer.headers.get_content_type()
            if kind.startswith(_TEXT):
                raise UnreadableImage(f"the server answered with {kind}, not with an image")
            return _content(answer, end, timeout, megabytes)
    except HTTPError as error:
        raise UnreadableImage(f"the server answered {error.code} {error.reason}") from None
    except TimeoutError:
        raise _too_slow(timeout) from None
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _too_slow(timeout) from None
        raise UnreadableImage(f"it cannot be reached: {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnreadableImage(f"it cannot be reached: {error or type(error).__name__}") from None


def _content(answer: http.client.HTTPResponse, end: float, timeout: float, megabytes: float) -> bytes:
    """The body of an answer.

    Raises:
        UnreadableImage: it is too large, too slow or cut off.
    """
    most = int(megabytes * 2**20)
    pieces, size = [], 0
    while piece := answer.read1(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise UnreadableImage(f"it has more than {megabytes:g} MB (megabytes={megabytes:g})")
        if time.monotonic() > end:
            raise _too_slow(timeout)
    stated = answer.headers.get("Content-Length")
    if stated is not None and stated.isdigit() and size < int(stated):
        raise UnreadableImage(f"it was cut off after {size} of {stated} bytes")
    return b"".join(pieces)


def _too_slow(timeout: float) -> UnreadableImage:
    return UnreadableImage(f"the server took more than {timeout:g} s (timeout={timeout:g})")


def _opener() -> OpenerDirector:
    """An opener that knows http and https alone: no files, no ftp, no data in addresses."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
