"""Benchmarks of the kernel layer: `run_kernels` measures, `simulate` counts, `compare` judges errors.

Files: `cases` (what is measured), `methods`, `baselines`, `timm_swin` (what it is measured with), `timing`, `report`,
`run`; `simulate` (useful work of tiles, from the geometry alone); `accuracy` (errors against float64).
"""

from visionattn.kernels.bench.accuracy import compare
from visionattn.kernels.bench.run import run_kernels
from visionattn.kernels.bench.simulate import simulate

__all__ = ["compare", "run_kernels", "simulate"]
