"""SIGTERM, as ``kill``, ``timeout``, Docker and batch systems send it, ends a command in order.

A training has its own answer while it runs (:class:`visionattn.training.signals.StopSignals`).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from visionattn.errors import Terminated

_TWICE = 1.0  # seconds: ``timeout`` signals a process, then its group


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Raise :class:`visionattn.errors.Terminated` inside the block when SIGTERM comes, so that drafts are removed.

    A handler that the calling program has set stays, as does the usual end of processes that are forked in the block.
    """
    own, last = os.getpid(), -_TWICE

    def end(number: int, frame: Any) -> None:
        nonlocal last
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        before, last = last, time.monotonic()
        if last - before > _TWICE:
            raise Terminated

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
