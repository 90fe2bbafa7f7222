"""Signals to a process group reach data workers too; the main process alone decides what they mean."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TELLS_SENDERS = hasattr(signal, "sigwaitinfo")
"""On macOS and Windows the sender of a signal cannot be told; signals keep their meaning there."""


@contextmanager
def workers_outlast_signals() -> Iterator[None]:
    """Data workers that are started inside live until the main process ends them.

    A batch system, ``timeout`` or Ctrl-C signals all processes of a run. The main process saves its state after the
    step that is running, for which it may still need batches. So a worker, which inherits what is blocked here, never
    sees SIGINT and SIGUSR1; of SIGTERM see :func:`obey_main_process`. The main process sees all of them at the end.
    """
    if not _TELLS_SENDERS:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_main_process(worker: int) -> None:
    """End a worker at a SIGTERM of its main process, with which torch ends workers that hang; nobody else's.

    Args:
        worker: index of the worker, as torch's ``worker_init_fn`` gets it.
    """
    if _TELLS_SENDERS:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(main: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main:
        pass
    os._exit(0)
