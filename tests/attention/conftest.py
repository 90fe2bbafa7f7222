"""The shapes in the signatures of mixers and kernels hold in all tests of this folder."""

from tests.shapes import checked_shapes  # noqa: F401
