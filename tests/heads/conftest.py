"""The shapes in the signatures of heads hold in all tests of this folder."""

from tests.shapes import checked_shapes  # noqa: F401
