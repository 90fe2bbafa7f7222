"""Benchmarks of the attention operators: ``run_kernels`` measures, ``simulate`` counts, ``compare`` judges errors.

Files: ``cases`` (what is measured), ``methods``, ``baselines``, ``timm_swin`` (the ways to compute it), ``run``;
``simulate`` (useful work of tiles, from the geometry alone); ``accuracy`` (errors against float64); ``tune``.
"""

from visionattn.benchmarks.kernels.accuracy import compare
from visionattn.benchmarks.kernels.run import run_kernels
from visionattn.benchmarks.kernels.simulate import simulate

__all__ = ["compare", "run_kernels", "simulate"]
