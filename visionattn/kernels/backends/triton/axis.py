"""One axis of a call's geometry: plain integers, no torch, no Triton."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One axis of the geometry. ``step`` is the shift of a window's lines, or a neighborhood's stride."""

    length: int
    size: int
    step: int
    dilation: int
    windowed: bool

    @property
    def longest(self) -> int:
        """Length of the longest dilation group."""
        return -(-self.length // self.dilation)

    @property
    def whole(self) -> bool:
        """Whether each query of a neighborhood sees its whole dilation group, as in a window of that size."""
        return not self.windowed and self.length == self.size * self.dilation

    @property
    def classes(self) -> int:
        """Number of different group lengths: two where the dilation does not divide the length."""
        return 1 if self.length % self.dilation == 0 else 2

    @property
    def offset(self) -> int:
        """How far the first tile starts before the map: windows are cut at the border, tiles are not."""
        return (self.size - self.step) % self.size if self.windowed else 0

    def tiles(self, side: int) -> int:
        """Number of tiles of ``side`` that cover the longest group; a window is covered by tiles of its own."""
        if self.windowed:
            return -(-(self.longest + self.offset) // self.size) * -(-self.size // side)
        return -(-self.longest // side)

    def first_key(self, query: int, length: int) -> int:
        """First visible key of a query, as coordinates in a group of ``length``; negative for some cut windows."""
        if self.windowed:
            return (query + self.size - self.step) // self.size * self.size + self.step - self.size
        leader = min(query // self.step * self.step + self.step // 2, length - 1)
        return min(max(leader - self.size // 2, 0), length - self.size)
