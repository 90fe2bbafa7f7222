"""Drawn image sets that only global sight solves: mazes, and textures whose order is the class."""

from __future__ import annotations

from visionattn.data.probes.make import PROBES, make_probe

__all__ = ["PROBES", "make_probe"]
