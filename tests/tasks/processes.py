"""Processes of a group, forked from a server that has imported what they need: PyTorch is loaded once, not by each."""

import multiprocessing
from collections.abc import Callable

from torch.multiprocessing import start_processes

LOADED = ["visionattn.tasks.detection.metric", "visionattn.tasks.panoptic.metric", "pycocotools.cocoeval"]


def on_processes(work: Callable[..., None], count: int, *arguments: object) -> None:
    """Call ``work(rank, *arguments)`` on so many processes; an error on one of them is raised here."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(LOADED)
    start_processes(work, arguments, nprocs=count, start_method="forkserver")
